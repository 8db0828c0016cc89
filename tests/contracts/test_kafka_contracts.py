import pytest

from oms.testing.contracts.broker import BrokerContract
from tests.contracts.labs import KafkaLogs

# The search for an order of comings and goings joins a group dozens of times, each a second or more on a busy machine.
pytestmark = [pytest.mark.servers, pytest.mark.timeout(1200)]


class TestKafkaBroker(KafkaLogs, BrokerContract):
    pass
