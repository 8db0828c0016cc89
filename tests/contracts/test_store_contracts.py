from oms.adapters.memory import (
    MemoryInventoryStore,
    MemoryNotificationStore,
    MemoryOrderStore,
    MemoryPaymentStore,
    MemoryStepStore,
)
from oms.testing.contracts.inventory import InventoryStoreContract
from oms.testing.contracts.notifications import NotificationStoreContract
from oms.testing.contracts.orders import OrderStoreContract
from oms.testing.contracts.payments import PaymentStoreContract
from oms.testing.contracts.steps import StepStoreContract
from tests.contracts.labs import InMemory, OnSqlite


class TestMemoryOrders(InMemory, OrderStoreContract):
    kind = MemoryOrderStore


class TestMemoryInventory(InMemory, InventoryStoreContract):
    kind = MemoryInventoryStore


class TestMemoryPayments(InMemory, PaymentStoreContract):
    kind = MemoryPaymentStore


class TestMemoryNotifications(InMemory, NotificationStoreContract):
    kind = MemoryNotificationStore


class TestMemorySteps(InMemory, StepStoreContract):
    kind = MemoryStepStore


class TestSqliteOrders(OnSqlite, OrderStoreContract):
    name = "order"


class TestSqliteInventory(OnSqlite, InventoryStoreContract):
    name = "inventory"


class TestSqlitePayments(OnSqlite, PaymentStoreContract):
    name = "payment"


class TestSqliteNotifications(OnSqlite, NotificationStoreContract):
    name = "notification"


class TestSqliteSteps(OnSqlite, StepStoreContract):
    name = "shipping"
