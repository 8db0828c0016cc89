"""The contracts of the ports as test suites. An adapter that you write must pass the suite of its port.

Each suite is a plain class of pytest tests. Subclass it, define the fixture that makes a fresh adapter, and set the
class attributes (flags) for each feature that your adapter lacks:

    from oms.testing.contracts.orders import OrderStoreContract

    class TestMyOrders(OrderStoreContract):
        @pytest.fixture
        def new_store(self, tmp_path):
            self.clock = ManualClock()
            return lambda: MyOrderStore(tmp_path / uuid4().hex, self.clock)

        def advance(self, seconds):
            self.clock.advance(timedelta(seconds=seconds))

| port | suite |
| --- | --- |
| `OrderStore` | `orders.OrderStoreContract` |
| `InventoryStore` | `inventory.InventoryStoreContract` |
| `OrderStore.join` | `joining.JoiningContract` |
| `PaymentStore` | `payments.PaymentStoreContract` |
| `NotificationStore` | `notifications.NotificationStoreContract` |
| `StepStore` | `steps.StepStoreContract` |
| `Broker` | `broker.BrokerContract` |
| `StockGate` | `gate.GateContract` |
| `CallExecutor` | `calls.CallsContract` |
| `Clock`, `Ids` | `clock.ClockContract`, `clock.IdsContract` |

Suites for a shop's own extensions. The docstring of each module lists the fixtures and methods that a subclass defines:

| port | suite |
| --- | --- |
| `PaymentGateway`, `GatewayBook` | `gateway.GatewayContract` |
| `Notifier` | `notifier.NotifierContract` |
| `Pricing` | `pricing.PricingContract` |
| `Policy` | `policy.PolicyContract` |
| `Authenticator` | `authenticator.AuthenticatorContract` |

All suites need pytest and hypothesis (`pip install 'distributed-oms[testing]'`). A store must also implement the
evidence protocol of its service (`oms.ports.evidence`).
"""
