import pytest
from labs import KafkaLogs

from oms.testing.contracts.broker import BrokerContract

pytestmark = pytest.mark.servers


class TestKafkaBroker(KafkaLogs, BrokerContract):
    pass
