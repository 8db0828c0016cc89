import pytest
from labs import KafkaLogs

from oms.testing.contracts.broker import BrokerContract

# The search for an order of comings and goings joins a group dozens of times, each a second or more on a busy machine.
pytestmark = [pytest.mark.servers, pytest.mark.timeout(1200)]


class TestKafkaBroker(KafkaLogs, BrokerContract):
    pass
