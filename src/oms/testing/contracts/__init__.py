"""The contracts of the ports, as tests: what an adapter of your own has to pass.

Each suite is a plain class of pytest tests. Subclass it, give the fixture that makes a fresh adapter, and correct
the class attributes that say what your adapter can't do:

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

Suites for what a shop writes; each module says what a subclass gives:

| port | suite |
| --- | --- |
| `PaymentGateway`, `GatewayBook` | `gateway.GatewayContract` |
| `Notifier` | `notifier.NotifierContract` |
| `Pricing` | `pricing.PricingContract` |
| `Policy` | `policy.PolicyContract` |
| `Authenticator` | `authenticator.AuthenticatorContract` |

All suites need pytest and hypothesis (`pip install 'distributed-oms[testing]'`). A store is expected to implement the evidence protocol of its service too.
"""
