import pytest

from oms.testing.contracts.inventory import InventoryStoreContract
from oms.testing.contracts.notifications import NotificationStoreContract
from oms.testing.contracts.orders import OrderStoreContract
from oms.testing.contracts.payments import PaymentStoreContract
from oms.testing.contracts.steps import StepStoreContract
from tests.contracts.labs import OnPostgres

pytestmark = pytest.mark.servers


class TestPostgresOrders(OnPostgres, OrderStoreContract):
    name = "order"


class TestPostgresInventory(OnPostgres, InventoryStoreContract):
    name = "inventory"


class TestPostgresPayments(OnPostgres, PaymentStoreContract):
    name = "payment"


class TestPostgresNotifications(OnPostgres, NotificationStoreContract):
    name = "notification"


class TestPostgresSteps(OnPostgres, StepStoreContract):
    name = "shipping"
