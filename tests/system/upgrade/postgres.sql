SELECT pg_catalog.set_config('search_path', '', false);
CREATE SCHEMA oms_inventory;
CREATE SCHEMA oms_notification;
CREATE SCHEMA oms_order;
CREATE SCHEMA oms_payment;
CREATE TABLE oms_inventory.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE oms_inventory.attempts (
    consumer character varying(64) NOT NULL COLLATE pg_catalog."C",
    topic character varying(128) NOT NULL COLLATE pg_catalog."C",
    part integer NOT NULL,
    "position" bigint NOT NULL,
    tries integer NOT NULL
)
WITH (fillfactor='50');
CREATE TABLE oms_inventory.dead_letters (
    id character varying(36) NOT NULL COLLATE pg_catalog."C",
    consumer character varying(64) NOT NULL COLLATE pg_catalog."C",
    message_id character varying(200) NOT NULL COLLATE pg_catalog."C",
    topic character varying(128) NOT NULL COLLATE pg_catalog."C",
    part integer NOT NULL,
    "position" bigint NOT NULL,
    key bytea,
    value bytea,
    headers text NOT NULL,
    cause character varying(128) NOT NULL COLLATE pg_catalog."C",
    detail text NOT NULL,
    attempts integer NOT NULL,
    parked_at timestamp with time zone NOT NULL,
    state character varying(16) NOT NULL COLLATE pg_catalog."C",
    order_id character varying(64) COLLATE pg_catalog."C"
);
CREATE TABLE oms_inventory.gate (
    id integer NOT NULL,
    epoch integer NOT NULL
);
CREATE TABLE oms_inventory.idempotency (
    key character varying(255) NOT NULL COLLATE pg_catalog."C",
    scope character varying(160) NOT NULL COLLATE pg_catalog."C",
    fingerprint character varying(64) NOT NULL COLLATE pg_catalog."C",
    body text NOT NULL,
    at timestamp with time zone NOT NULL
);
CREATE TABLE oms_inventory.inbox (
    consumer character varying(64) NOT NULL COLLATE pg_catalog."C",
    message_id character varying(64) NOT NULL COLLATE pg_catalog."C",
    at timestamp with time zone NOT NULL
);
CREATE TABLE oms_inventory.outbox (
    id character varying(36) NOT NULL COLLATE pg_catalog."C",
    topic character varying(128) NOT NULL COLLATE pg_catalog."C",
    key bytea,
    value bytea NOT NULL,
    headers text NOT NULL,
    leased_until timestamp with time zone NOT NULL,
    at timestamp with time zone NOT NULL,
    owner character varying(36) COLLATE pg_catalog."C"
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_cost_delay='0', vacuum_truncate='false');
CREATE TABLE oms_inventory.owners (
    instance character varying(255) NOT NULL COLLATE pg_catalog."C",
    slot integer NOT NULL,
    owner character varying(36) NOT NULL COLLATE pg_catalog."C",
    server_started_at timestamp with time zone NOT NULL,
    registered_at timestamp with time zone NOT NULL
);
CREATE TABLE oms_inventory.pinned (
    name character varying(32) NOT NULL COLLATE pg_catalog."C",
    value character varying(64) NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE oms_inventory.reservations (
    order_id character varying(64) NOT NULL COLLATE pg_catalog."C",
    state character varying(16) NOT NULL COLLATE pg_catalog."C",
    items text NOT NULL,
    updated_at timestamp with time zone
);
CREATE TABLE oms_inventory.stock (
    sku character varying(64) NOT NULL COLLATE pg_catalog."C",
    on_hand bigint NOT NULL,
    held bigint NOT NULL,
    CONSTRAINT ck_stock_bounds CHECK (((0 <= held) AND (held <= on_hand)))
)
WITH (fillfactor='50');
CREATE TABLE oms_inventory.stock_ledger (
    reference character varying(64) NOT NULL COLLATE pg_catalog."C",
    sku character varying(64) NOT NULL COLLATE pg_catalog."C",
    kind character varying(16) NOT NULL COLLATE pg_catalog."C",
    on_hand bigint NOT NULL,
    held bigint NOT NULL,
    at timestamp with time zone NOT NULL
);
CREATE TABLE oms_inventory.tasks (
    key character varying(200) NOT NULL COLLATE pg_catalog."C",
    kind character varying(16) NOT NULL COLLATE pg_catalog."C",
    payload text NOT NULL,
    due_at timestamp with time zone NOT NULL,
    lease character varying(36) COLLATE pg_catalog."C",
    attempts integer NOT NULL,
    created_at timestamp with time zone NOT NULL,
    called_at timestamp with time zone,
    note text NOT NULL,
    trace character varying(64) COLLATE pg_catalog."C",
    owner character varying(36) COLLATE pg_catalog."C"
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_cost_delay='0', vacuum_truncate='false');
CREATE TABLE oms_notification.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE oms_notification.attempts (
    consumer character varying(64) NOT NULL COLLATE pg_catalog."C",
    topic character varying(128) NOT NULL COLLATE pg_catalog."C",
    part integer NOT NULL,
    "position" bigint NOT NULL,
    tries integer NOT NULL
)
WITH (fillfactor='50');
CREATE TABLE oms_notification.dead_letters (
    id character varying(36) NOT NULL COLLATE pg_catalog."C",
    consumer character varying(64) NOT NULL COLLATE pg_catalog."C",
    message_id character varying(200) NOT NULL COLLATE pg_catalog."C",
    topic character varying(128) NOT NULL COLLATE pg_catalog."C",
    part integer NOT NULL,
    "position" bigint NOT NULL,
    key bytea,
    value bytea,
    headers text NOT NULL,
    cause character varying(128) NOT NULL COLLATE pg_catalog."C",
    detail text NOT NULL,
    attempts integer NOT NULL,
    parked_at timestamp with time zone NOT NULL,
    state character varying(16) NOT NULL COLLATE pg_catalog."C",
    order_id character varying(64) COLLATE pg_catalog."C"
);
CREATE TABLE oms_notification.inbox (
    consumer character varying(64) NOT NULL COLLATE pg_catalog."C",
    message_id character varying(64) NOT NULL COLLATE pg_catalog."C",
    at timestamp with time zone NOT NULL
);
CREATE TABLE oms_notification.notifications (
    id character varying(200) NOT NULL COLLATE pg_catalog."C",
    order_id character varying(64) NOT NULL COLLATE pg_catalog."C",
    kind character varying(128) NOT NULL COLLATE pg_catalog."C",
    user_id character varying(64) NOT NULL COLLATE pg_catalog."C",
    total_minor bigint NOT NULL,
    currency character varying(3) NOT NULL COLLATE pg_catalog."C",
    reason character varying(32) COLLATE pg_catalog."C",
    metadata text NOT NULL,
    at timestamp with time zone,
    sent_at timestamp with time zone
)
WITH (fillfactor='85');
CREATE TABLE oms_notification.outbox (
    id character varying(36) NOT NULL COLLATE pg_catalog."C",
    topic character varying(128) NOT NULL COLLATE pg_catalog."C",
    key bytea,
    value bytea NOT NULL,
    headers text NOT NULL,
    leased_until timestamp with time zone NOT NULL,
    at timestamp with time zone NOT NULL,
    owner character varying(36) COLLATE pg_catalog."C"
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_cost_delay='0', vacuum_truncate='false');
CREATE TABLE oms_notification.owners (
    instance character varying(255) NOT NULL COLLATE pg_catalog."C",
    slot integer NOT NULL,
    owner character varying(36) NOT NULL COLLATE pg_catalog."C",
    server_started_at timestamp with time zone NOT NULL,
    registered_at timestamp with time zone NOT NULL
);
CREATE TABLE oms_notification.pinned (
    name character varying(32) NOT NULL COLLATE pg_catalog."C",
    value character varying(64) NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE oms_notification.tasks (
    key character varying(200) NOT NULL COLLATE pg_catalog."C",
    kind character varying(16) NOT NULL COLLATE pg_catalog."C",
    payload text NOT NULL,
    due_at timestamp with time zone NOT NULL,
    lease character varying(36) COLLATE pg_catalog."C",
    attempts integer NOT NULL,
    created_at timestamp with time zone NOT NULL,
    called_at timestamp with time zone,
    note text NOT NULL,
    trace character varying(64) COLLATE pg_catalog."C",
    owner character varying(36) COLLATE pg_catalog."C"
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_cost_delay='0', vacuum_truncate='false');
CREATE TABLE oms_order.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE oms_order.attempts (
    consumer character varying(64) NOT NULL COLLATE pg_catalog."C",
    topic character varying(128) NOT NULL COLLATE pg_catalog."C",
    part integer NOT NULL,
    "position" bigint NOT NULL,
    tries integer NOT NULL
)
WITH (fillfactor='50');
CREATE TABLE oms_order.dead_letters (
    id character varying(36) NOT NULL COLLATE pg_catalog."C",
    consumer character varying(64) NOT NULL COLLATE pg_catalog."C",
    message_id character varying(200) NOT NULL COLLATE pg_catalog."C",
    topic character varying(128) NOT NULL COLLATE pg_catalog."C",
    part integer NOT NULL,
    "position" bigint NOT NULL,
    key bytea,
    value bytea,
    headers text NOT NULL,
    cause character varying(128) NOT NULL COLLATE pg_catalog."C",
    detail text NOT NULL,
    attempts integer NOT NULL,
    parked_at timestamp with time zone NOT NULL,
    state character varying(16) NOT NULL COLLATE pg_catalog."C",
    order_id character varying(64) COLLATE pg_catalog."C"
);
CREATE TABLE oms_order.idempotency (
    key character varying(255) NOT NULL COLLATE pg_catalog."C",
    scope character varying(160) NOT NULL COLLATE pg_catalog."C",
    fingerprint character varying(64) NOT NULL COLLATE pg_catalog."C",
    body text NOT NULL,
    at timestamp with time zone NOT NULL
);
CREATE TABLE oms_order.inbox (
    consumer character varying(64) NOT NULL COLLATE pg_catalog."C",
    message_id character varying(64) NOT NULL COLLATE pg_catalog."C",
    at timestamp with time zone NOT NULL
);
CREATE TABLE oms_order.order_history (
    order_id character varying(64) NOT NULL COLLATE pg_catalog."C",
    seq integer NOT NULL,
    at timestamp with time zone NOT NULL,
    trigger character varying(32) NOT NULL COLLATE pg_catalog."C",
    before character varying(16) NOT NULL COLLATE pg_catalog."C",
    after character varying(16) NOT NULL COLLATE pg_catalog."C",
    detail text NOT NULL
);
CREATE TABLE oms_order.orders (
    id character varying(64) NOT NULL COLLATE pg_catalog."C",
    state character varying(16) NOT NULL COLLATE pg_catalog."C",
    version integer NOT NULL,
    user_id character varying(64) COLLATE pg_catalog."C",
    total_minor bigint,
    currency character varying(3) COLLATE pg_catalog."C",
    items text,
    metadata text,
    created_at timestamp with time zone,
    updated_at timestamp with time zone,
    deadline_at timestamp with time zone,
    reason character varying(32) COLLATE pg_catalog."C",
    early text NOT NULL,
    early_terms text
)
WITH (fillfactor='50');
CREATE TABLE oms_order.outbox (
    id character varying(36) NOT NULL COLLATE pg_catalog."C",
    topic character varying(128) NOT NULL COLLATE pg_catalog."C",
    key bytea,
    value bytea NOT NULL,
    headers text NOT NULL,
    leased_until timestamp with time zone NOT NULL,
    at timestamp with time zone NOT NULL,
    owner character varying(36) COLLATE pg_catalog."C"
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_cost_delay='0', vacuum_truncate='false');
CREATE TABLE oms_order.owners (
    instance character varying(255) NOT NULL COLLATE pg_catalog."C",
    slot integer NOT NULL,
    owner character varying(36) NOT NULL COLLATE pg_catalog."C",
    server_started_at timestamp with time zone NOT NULL,
    registered_at timestamp with time zone NOT NULL
);
CREATE TABLE oms_order.pinned (
    name character varying(32) NOT NULL COLLATE pg_catalog."C",
    value character varying(64) NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE oms_order.tasks (
    key character varying(200) NOT NULL COLLATE pg_catalog."C",
    kind character varying(16) NOT NULL COLLATE pg_catalog."C",
    payload text NOT NULL,
    due_at timestamp with time zone NOT NULL,
    lease character varying(36) COLLATE pg_catalog."C",
    attempts integer NOT NULL,
    created_at timestamp with time zone NOT NULL,
    called_at timestamp with time zone,
    note text NOT NULL,
    trace character varying(64) COLLATE pg_catalog."C",
    owner character varying(36) COLLATE pg_catalog."C"
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_cost_delay='0', vacuum_truncate='false');
CREATE TABLE oms_payment.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE oms_payment.attempts (
    consumer character varying(64) NOT NULL COLLATE pg_catalog."C",
    topic character varying(128) NOT NULL COLLATE pg_catalog."C",
    part integer NOT NULL,
    "position" bigint NOT NULL,
    tries integer NOT NULL
)
WITH (fillfactor='50');
CREATE TABLE oms_payment.dead_letters (
    id character varying(36) NOT NULL COLLATE pg_catalog."C",
    consumer character varying(64) NOT NULL COLLATE pg_catalog."C",
    message_id character varying(200) NOT NULL COLLATE pg_catalog."C",
    topic character varying(128) NOT NULL COLLATE pg_catalog."C",
    part integer NOT NULL,
    "position" bigint NOT NULL,
    key bytea,
    value bytea,
    headers text NOT NULL,
    cause character varying(128) NOT NULL COLLATE pg_catalog."C",
    detail text NOT NULL,
    attempts integer NOT NULL,
    parked_at timestamp with time zone NOT NULL,
    state character varying(16) NOT NULL COLLATE pg_catalog."C",
    order_id character varying(64) COLLATE pg_catalog."C"
);
CREATE TABLE oms_payment.inbox (
    consumer character varying(64) NOT NULL COLLATE pg_catalog."C",
    message_id character varying(64) NOT NULL COLLATE pg_catalog."C",
    at timestamp with time zone NOT NULL
);
CREATE TABLE oms_payment.outbox (
    id character varying(36) NOT NULL COLLATE pg_catalog."C",
    topic character varying(128) NOT NULL COLLATE pg_catalog."C",
    key bytea,
    value bytea NOT NULL,
    headers text NOT NULL,
    leased_until timestamp with time zone NOT NULL,
    at timestamp with time zone NOT NULL,
    owner character varying(36) COLLATE pg_catalog."C"
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_cost_delay='0', vacuum_truncate='false');
CREATE TABLE oms_payment.owners (
    instance character varying(255) NOT NULL COLLATE pg_catalog."C",
    slot integer NOT NULL,
    owner character varying(36) NOT NULL COLLATE pg_catalog."C",
    server_started_at timestamp with time zone NOT NULL,
    registered_at timestamp with time zone NOT NULL
);
CREATE TABLE oms_payment.payments (
    order_id character varying(64) NOT NULL COLLATE pg_catalog."C",
    state character varying(16) NOT NULL COLLATE pg_catalog."C",
    user_id character varying(64) COLLATE pg_catalog."C",
    total_minor bigint,
    currency character varying(3) COLLATE pg_catalog."C",
    metadata text NOT NULL,
    payment_id character varying(64) COLLATE pg_catalog."C",
    updated_at timestamp with time zone
)
WITH (fillfactor='40');
CREATE TABLE oms_payment.pinned (
    name character varying(32) NOT NULL COLLATE pg_catalog."C",
    value character varying(64) NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE oms_payment.tasks (
    key character varying(200) NOT NULL COLLATE pg_catalog."C",
    kind character varying(16) NOT NULL COLLATE pg_catalog."C",
    payload text NOT NULL,
    due_at timestamp with time zone NOT NULL,
    lease character varying(36) COLLATE pg_catalog."C",
    attempts integer NOT NULL,
    created_at timestamp with time zone NOT NULL,
    called_at timestamp with time zone,
    note text NOT NULL,
    trace character varying(64) COLLATE pg_catalog."C",
    owner character varying(36) COLLATE pg_catalog."C"
)
WITH (autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_cost_delay='0', vacuum_truncate='false');
INSERT INTO oms_inventory.alembic_version VALUES ('inventory_0004');
INSERT INTO oms_inventory.gate VALUES (1, 1);
INSERT INTO oms_inventory.inbox VALUES ('inventory-group', '9ca99863-9998-5b92-9ce5-4982f79f8141', '2024-03-05 21:08:06.880487+00');
INSERT INTO oms_inventory.inbox VALUES ('inventory-group', '897ef87e-05fd-5218-a616-f69d44b16aae', '2024-03-05 21:08:07.014951+00');
INSERT INTO oms_inventory.inbox VALUES ('inventory-group', '4b07e1e1-9856-5def-9ee7-3721261f8a14', '2024-03-05 21:08:07.11896+00');
INSERT INTO oms_inventory.inbox VALUES ('inventory-group', '23cb0bf0-22b2-547b-927c-85dd8d4e61ec', '2024-03-05 21:08:07.308125+00');
INSERT INTO oms_inventory.inbox VALUES ('inventory-group', '9417f745-1c2d-5a03-9443-53e6e0397ef2', '2024-03-05 21:08:07.308125+00');
INSERT INTO oms_inventory.inbox VALUES ('inventory-group', '559a70de-d6cb-57b9-9183-5471e9a9ebbc', '2024-03-05 21:08:07.407985+00');
INSERT INTO oms_inventory.inbox VALUES ('inventory-group', '9536cf74-1b3f-52d4-843b-891b1bcba2a5', '2024-03-05 21:08:07.431556+00');
INSERT INTO oms_inventory.inbox VALUES ('inventory-group', '3d6a85db-6504-51ba-8650-8c901554ea72', '2024-03-05 21:08:08.41526+00');
INSERT INTO oms_inventory.inbox VALUES ('inventory-group', '1899d4c5-ea8a-589c-860b-b92b985d8715', '2024-03-05 21:08:09.194812+00');
INSERT INTO oms_inventory.owners VALUES ('vm', 1, 'd51e207c-8227-4bf9-9fed-189221cfb030', '2024-03-05 21:08:03.528689+00', '2024-03-05 21:08:06.551729+00');
INSERT INTO oms_inventory.pinned VALUES ('default_stock', '10');
INSERT INTO oms_inventory.pinned VALUES ('currency', 'EUR');
INSERT INTO oms_inventory.reservations VALUES ('01a22e49-5325-739b-af8e-04ed1f8c285e', 'REJECTED', '{}', '2024-03-05 21:08:07.30787+00');
INSERT INTO oms_inventory.reservations VALUES ('01a22e49-5176-7231-84b9-6e92e3312d5b', 'COMMITTED', '{"desk":1,"lamp":3}', '2024-03-05 21:08:07.30787+00');
INSERT INTO oms_inventory.reservations VALUES ('01a22e49-5247-777a-beba-d6315fb48ad4', 'COMMITTED', '{"lamp":1}', '2024-03-05 21:08:07.407824+00');
INSERT INTO oms_inventory.reservations VALUES ('01a22e49-52a3-71a5-af6a-3e317ecca2eb', 'RELEASED', '{"desk":2}', '2024-03-05 21:08:08.41503+00');
INSERT INTO oms_inventory.reservations VALUES ('01a22e49-5b4f-76be-b78d-795f18fb253c', 'HELD', '{"lamp":1}', '2024-03-05 21:08:09.194716+00');
INSERT INTO oms_inventory.stock VALUES ('desk', 9, 0);
INSERT INTO oms_inventory.stock VALUES ('lamp', 6, 1);
INSERT INTO oms_inventory.stock_ledger VALUES ('default', 'desk', 'DEFAULT', 10, 0, '2024-03-05 21:08:06.865959+00');
INSERT INTO oms_inventory.stock_ledger VALUES ('default', 'lamp', 'DEFAULT', 10, 0, '2024-03-05 21:08:06.865959+00');
INSERT INTO oms_inventory.stock_ledger VALUES ('01a22e49-5176-7231-84b9-6e92e3312d5b', 'desk', 'HOLD', 0, 1, '2024-03-05 21:08:06.880487+00');
INSERT INTO oms_inventory.stock_ledger VALUES ('01a22e49-5176-7231-84b9-6e92e3312d5b', 'lamp', 'HOLD', 0, 3, '2024-03-05 21:08:06.880487+00');
INSERT INTO oms_inventory.stock_ledger VALUES ('01a22e49-5247-777a-beba-d6315fb48ad4', 'lamp', 'HOLD', 0, 1, '2024-03-05 21:08:07.014951+00');
INSERT INTO oms_inventory.stock_ledger VALUES ('01a22e49-52a3-71a5-af6a-3e317ecca2eb', 'desk', 'HOLD', 0, 2, '2024-03-05 21:08:07.11896+00');
INSERT INTO oms_inventory.stock_ledger VALUES ('01a22e49-5176-7231-84b9-6e92e3312d5b', 'desk', 'COMMIT', -1, -1, '2024-03-05 21:08:07.308125+00');
INSERT INTO oms_inventory.stock_ledger VALUES ('01a22e49-5176-7231-84b9-6e92e3312d5b', 'lamp', 'COMMIT', -3, -3, '2024-03-05 21:08:07.308125+00');
INSERT INTO oms_inventory.stock_ledger VALUES ('01a22e49-5247-777a-beba-d6315fb48ad4', 'lamp', 'COMMIT', -1, -1, '2024-03-05 21:08:07.40803+00');
INSERT INTO oms_inventory.stock_ledger VALUES ('01a22e49-52a3-71a5-af6a-3e317ecca2eb', 'desk', 'COMMIT', -2, -2, '2024-03-05 21:08:07.431767+00');
INSERT INTO oms_inventory.stock_ledger VALUES ('01a22e49-52a3-71a5-af6a-3e317ecca2eb', 'desk', 'RESTOCK', 2, 0, '2024-03-05 21:08:08.415317+00');
INSERT INTO oms_inventory.stock_ledger VALUES ('01a22e49-5b4f-76be-b78d-795f18fb253c', 'lamp', 'HOLD', 0, 1, '2024-03-05 21:08:09.194812+00');
INSERT INTO oms_notification.alembic_version VALUES ('notification_0004');
INSERT INTO oms_notification.inbox VALUES ('notification-group', 'ff10aaa9-8555-5aa4-a362-76179019e87a', '2024-03-05 21:08:07.249119+00');
INSERT INTO oms_notification.inbox VALUES ('notification-group', '743a160b-830a-55e9-84d8-552fa57748e0', '2024-03-05 21:08:07.353741+00');
INSERT INTO oms_notification.inbox VALUES ('notification-group', '9417f745-1c2d-5a03-9443-53e6e0397ef2', '2024-03-05 21:08:07.353741+00');
INSERT INTO oms_notification.inbox VALUES ('notification-group', '925e55e1-cd94-5584-a3e8-92638330983d', '2024-03-05 21:08:07.389041+00');
INSERT INTO oms_notification.inbox VALUES ('notification-group', '559a70de-d6cb-57b9-9183-5471e9a9ebbc', '2024-03-05 21:08:07.435071+00');
INSERT INTO oms_notification.inbox VALUES ('notification-group', '9536cf74-1b3f-52d4-843b-891b1bcba2a5', '2024-03-05 21:08:07.435071+00');
INSERT INTO oms_notification.inbox VALUES ('notification-group', 'f55e469d-6239-5da8-aedf-8a7bd2139a14', '2024-03-05 21:08:07.435071+00');
INSERT INTO oms_notification.inbox VALUES ('notification-group', 'fa887a9f-0f18-5bde-aa13-55e77eaf61d9', '2024-03-05 21:08:08.38894+00');
INSERT INTO oms_notification.inbox VALUES ('notification-group', '3d6a85db-6504-51ba-8650-8c901554ea72', '2024-03-05 21:08:08.416595+00');
INSERT INTO oms_notification.notifications VALUES ('01a22e49-5176-7231-84b9-6e92e3312d5b:payment.success', '01a22e49-5176-7231-84b9-6e92e3312d5b', 'payment.success', 'ann', 5997, 'EUR', NULL, '{}', '2024-03-05 21:08:07.247538+00', '2024-03-05 21:08:07.249187+00');
INSERT INTO oms_notification.notifications VALUES ('01a22e49-5176-7231-84b9-6e92e3312d5b:order.confirmed', '01a22e49-5176-7231-84b9-6e92e3312d5b', 'order.confirmed', 'ann', 5997, 'EUR', NULL, '{"channel":"web"}', '2024-03-05 21:08:07.353572+00', '2024-03-05 21:08:07.353787+00');
INSERT INTO oms_notification.notifications VALUES ('01a22e49-5247-777a-beba-d6315fb48ad4:payment.success', '01a22e49-5247-777a-beba-d6315fb48ad4', 'payment.success', 'bob', 1000, 'EUR', NULL, '{}', '2024-03-05 21:08:07.353572+00', '2024-03-05 21:08:07.353787+00');
INSERT INTO oms_notification.notifications VALUES ('01a22e49-52a3-71a5-af6a-3e317ecca2eb:payment.success', '01a22e49-52a3-71a5-af6a-3e317ecca2eb', 'payment.success', 'cem', 2000, 'EUR', NULL, '{}', '2024-03-05 21:08:07.38777+00', '2024-03-05 21:08:07.389097+00');
INSERT INTO oms_notification.notifications VALUES ('01a22e49-5247-777a-beba-d6315fb48ad4:order.confirmed', '01a22e49-5247-777a-beba-d6315fb48ad4', 'order.confirmed', 'bob', 1000, 'EUR', NULL, '{}', '2024-03-05 21:08:07.432389+00', '2024-03-05 21:08:07.435119+00');
INSERT INTO oms_notification.notifications VALUES ('01a22e49-52a3-71a5-af6a-3e317ecca2eb:order.confirmed', '01a22e49-52a3-71a5-af6a-3e317ecca2eb', 'order.confirmed', 'cem', 2000, 'EUR', NULL, '{}', '2024-03-05 21:08:07.432389+00', '2024-03-05 21:08:07.435119+00');
INSERT INTO oms_notification.notifications VALUES ('01a22e49-5325-739b-af8e-04ed1f8c285e:order.rejected', '01a22e49-5325-739b-af8e-04ed1f8c285e', 'order.rejected', 'eve', 900, 'EUR', 'OUT_OF_STOCK', '{}', '2024-03-05 21:08:07.432389+00', '2024-03-05 21:08:07.435119+00');
INSERT INTO oms_notification.notifications VALUES ('01a22e49-52a3-71a5-af6a-3e317ecca2eb:payment.refunded', '01a22e49-52a3-71a5-af6a-3e317ecca2eb', 'payment.refunded', 'cem', 2000, 'EUR', NULL, '{}', '2024-03-05 21:08:08.387102+00', '2024-03-05 21:08:08.389009+00');
INSERT INTO oms_notification.notifications VALUES ('01a22e49-52a3-71a5-af6a-3e317ecca2eb:order.cancelled', '01a22e49-52a3-71a5-af6a-3e317ecca2eb', 'order.cancelled', 'cem', 2000, 'EUR', 'OPERATOR', '{}', '2024-03-05 21:08:08.416358+00', '2024-03-05 21:08:08.416682+00');
INSERT INTO oms_notification.owners VALUES ('vm', 1, '667cc1ab-91a1-4cfa-b0f3-3c14df211c02', '2024-03-05 21:08:03.528689+00', '2024-03-05 21:08:06.611455+00');
INSERT INTO oms_notification.pinned VALUES ('currency', 'EUR');
INSERT INTO oms_order.alembic_version VALUES ('order_0006');
INSERT INTO oms_order.inbox VALUES ('order-group', '703ed861-c2a0-5440-aa6e-4b3f6572af0f.09189cf917b25f89cba08cd5', '2024-03-05 21:08:06.969866+00');
INSERT INTO oms_order.inbox VALUES ('order-group', '9ca99863-9998-5b92-9ce5-4982f79f8141', '2024-03-05 21:08:06.969866+00');
INSERT INTO oms_order.inbox VALUES ('order-group', '897ef87e-05fd-5218-a616-f69d44b16aae', '2024-03-05 21:08:07.080577+00');
INSERT INTO oms_order.inbox VALUES ('order-group', 'efa65c5e-4862-5241-9e72-d522372aecad.81a0eb9495b7f7e011b12495', '2024-03-05 21:08:07.080577+00');
INSERT INTO oms_order.inbox VALUES ('order-group', '4b07e1e1-9856-5def-9ee7-3721261f8a14', '2024-03-05 21:08:07.284828+00');
INSERT INTO oms_order.inbox VALUES ('order-group', 'd54e3602-3042-539c-99b6-0390df7298ca.c922e86522b4b029e90e7405', '2024-03-05 21:08:07.284828+00');
INSERT INTO oms_order.inbox VALUES ('order-group', 'ff10aaa9-8555-5aa4-a362-76179019e87a.8e2b5792ea8073dac717bd83', '2024-03-05 21:08:07.284828+00');
INSERT INTO oms_order.inbox VALUES ('order-group', '23cb0bf0-22b2-547b-927c-85dd8d4e61ec', '2024-03-05 21:08:07.307372+00');
INSERT INTO oms_order.inbox VALUES ('order-group', '743a160b-830a-55e9-84d8-552fa57748e0.c5f0478c24694f7df693124c', '2024-03-05 21:08:07.371034+00');
INSERT INTO oms_order.inbox VALUES ('order-group', 'f8bb96d0-c663-5f25-93bc-c95a31bf4e8b', '2024-03-05 21:08:07.371034+00');
INSERT INTO oms_order.inbox VALUES ('order-group', '925e55e1-cd94-5584-a3e8-92638330983d.2ddfab8f5a25eae6a1c59c8c', '2024-03-05 21:08:07.408269+00');
INSERT INTO oms_order.inbox VALUES ('order-group', 'fa887a9f-0f18-5bde-aa13-55e77eaf61d9.2ddfab8f5a25eae6a1c59c8c', '2024-03-05 21:08:08.395797+00');
INSERT INTO oms_order.inbox VALUES ('order-group', '67f0f9ff-f849-5aba-b5c9-548fe46b6378', '2024-03-05 21:08:08.440021+00');
INSERT INTO oms_order.order_history VALUES ('01a22e49-5176-7231-84b9-6e92e3312d5b', 1, '2024-03-05 21:08:06.827622+00', 'place', 'ABSENT', 'CREATED', '');
INSERT INTO oms_order.order_history VALUES ('01a22e49-5247-777a-beba-d6315fb48ad4', 1, '2024-03-05 21:08:06.934099+00', 'place', 'ABSENT', 'CREATED', '');
INSERT INTO oms_order.order_history VALUES ('01a22e49-5176-7231-84b9-6e92e3312d5b', 2, '2024-03-05 21:08:06.96746+00', 'inventory.reserved', 'CREATED', 'RESERVED', '');
INSERT INTO oms_order.order_history VALUES ('01a22e49-5176-7231-84b9-6e92e3312d5b', 3, '2024-03-05 21:08:06.96746+00', 'order.created', 'RESERVED', 'RESERVED', '');
INSERT INTO oms_order.order_history VALUES ('01a22e49-52a3-71a5-af6a-3e317ecca2eb', 1, '2024-03-05 21:08:07.068537+00', 'place', 'ABSENT', 'CREATED', '');
INSERT INTO oms_order.order_history VALUES ('01a22e49-5247-777a-beba-d6315fb48ad4', 2, '2024-03-05 21:08:07.080438+00', 'inventory.reserved', 'CREATED', 'RESERVED', '');
INSERT INTO oms_order.order_history VALUES ('01a22e49-5247-777a-beba-d6315fb48ad4', 3, '2024-03-05 21:08:07.080438+00', 'order.created', 'RESERVED', 'RESERVED', '');
INSERT INTO oms_order.order_history VALUES ('01a22e49-5325-739b-af8e-04ed1f8c285e', 1, '2024-03-05 21:08:07.264199+00', 'place', 'ABSENT', 'CREATED', '');
INSERT INTO oms_order.order_history VALUES ('01a22e49-5176-7231-84b9-6e92e3312d5b', 4, '2024-03-05 21:08:07.284393+00', 'payment.success', 'RESERVED', 'CONFIRMED', '');
INSERT INTO oms_order.order_history VALUES ('01a22e49-52a3-71a5-af6a-3e317ecca2eb', 2, '2024-03-05 21:08:07.284393+00', 'inventory.reserved', 'CREATED', 'RESERVED', '');
INSERT INTO oms_order.order_history VALUES ('01a22e49-52a3-71a5-af6a-3e317ecca2eb', 3, '2024-03-05 21:08:07.284393+00', 'order.created', 'RESERVED', 'RESERVED', '');
INSERT INTO oms_order.order_history VALUES ('01a22e49-5325-739b-af8e-04ed1f8c285e', 2, '2024-03-05 21:08:07.307231+00', 'order.created', 'CREATED', 'CREATED', '');
INSERT INTO oms_order.order_history VALUES ('01a22e49-5247-777a-beba-d6315fb48ad4', 4, '2024-03-05 21:08:07.368824+00', 'payment.success', 'RESERVED', 'CONFIRMED', '');
INSERT INTO oms_order.order_history VALUES ('01a22e49-5325-739b-af8e-04ed1f8c285e', 3, '2024-03-05 21:08:07.368824+00', 'inventory.rejected', 'CREATED', 'REJECTED', '');
INSERT INTO oms_order.order_history VALUES ('01a22e49-52a3-71a5-af6a-3e317ecca2eb', 4, '2024-03-05 21:08:07.408116+00', 'payment.success', 'RESERVED', 'CONFIRMED', '');
INSERT INTO oms_order.order_history VALUES ('01a22e49-52a3-71a5-af6a-3e317ecca2eb', 5, '2024-03-05 21:08:08.308383+00', 'cancel by operator', 'CONFIRMED', 'CANCELLING', '');
INSERT INTO oms_order.order_history VALUES ('01a22e49-52a3-71a5-af6a-3e317ecca2eb', 6, '2024-03-05 21:08:08.39556+00', 'payment.refunded', 'CANCELLING', 'CANCELLED', '');
INSERT INTO oms_order.order_history VALUES ('01a22e49-52a3-71a5-af6a-3e317ecca2eb', 7, '2024-03-05 21:08:08.439847+00', 'inventory.released', 'CANCELLED', 'CANCELLED', '');
INSERT INTO oms_order.order_history VALUES ('01a22e49-5b4f-76be-b78d-795f18fb253c', 1, '2024-03-05 21:08:09.167976+00', 'place', 'ABSENT', 'CREATED', '');
INSERT INTO oms_order.orders VALUES ('01a22e49-5176-7231-84b9-6e92e3312d5b', 'CONFIRMED', 4, 'ann', 5997, 'EUR', '{"lamp":3,"desk":1}', '{"channel":"web"}', '2024-03-05 21:08:06.827622+00', '2024-03-05 21:08:07.284393+00', '2024-03-05 21:23:06.827622+00', NULL, '', NULL);
INSERT INTO oms_order.orders VALUES ('01a22e49-5247-777a-beba-d6315fb48ad4', 'CONFIRMED', 4, 'bob', 1000, 'EUR', '{"lamp":1}', NULL, '2024-03-05 21:08:06.934099+00', '2024-03-05 21:08:07.368824+00', '2024-03-05 21:23:06.934099+00', NULL, '', NULL);
INSERT INTO oms_order.orders VALUES ('01a22e49-5325-739b-af8e-04ed1f8c285e', 'REJECTED', 3, 'eve', 900, 'EUR', '{"lamp":1000}', NULL, '2024-03-05 21:08:07.264199+00', '2024-03-05 21:08:07.368824+00', '2024-03-05 21:23:07.264199+00', 'OUT_OF_STOCK', '', NULL);
INSERT INTO oms_order.orders VALUES ('01a22e49-52a3-71a5-af6a-3e317ecca2eb', 'CANCELLED', 7, 'cem', 2000, 'EUR', '{"desk":2}', NULL, '2024-03-05 21:08:07.068537+00', '2024-03-05 21:08:08.439847+00', '2024-03-05 21:23:07.068537+00', 'OPERATOR', '', NULL);
INSERT INTO oms_order.orders VALUES ('01a22e49-5b4f-76be-b78d-795f18fb253c', 'CREATED', 1, 'dan', 500, 'EUR', '{"lamp":1}', NULL, '2024-03-05 21:08:09.167976+00', '2024-03-05 21:08:09.167976+00', '2100-01-01 00:00:00+00', NULL, '', NULL);
INSERT INTO oms_order.owners VALUES ('vm', 1, 'fee757f1-fc0d-4675-b209-171f7ce1eac6', '2024-03-05 21:08:03.528689+00', '2024-03-05 21:08:06.522962+00');
INSERT INTO oms_order.pinned VALUES ('currency', 'EUR');
INSERT INTO oms_order.tasks VALUES ('01a22e49-5b4f-76be-b78d-795f18fb253c', 'deadline', '', '2100-01-01 00:00:00+00', NULL, 0, '2024-03-05 21:08:09.168956+00', NULL, '', NULL, NULL);
INSERT INTO oms_payment.alembic_version VALUES ('payment_0005');
INSERT INTO oms_payment.inbox VALUES ('payment-group', '703ed861-c2a0-5440-aa6e-4b3f6572af0f', '2024-03-05 21:08:06.912235+00');
INSERT INTO oms_payment.inbox VALUES ('payment-group', 'efa65c5e-4862-5241-9e72-d522372aecad', '2024-03-05 21:08:07.055853+00');
INSERT INTO oms_payment.inbox VALUES ('payment-group', 'd54e3602-3042-539c-99b6-0390df7298ca', '2024-03-05 21:08:07.211751+00');
INSERT INTO oms_payment.inbox VALUES ('payment-group', '328aee02-ff5b-5d65-ba28-fba605ce63c9', '2024-03-05 21:08:08.348213+00');
INSERT INTO oms_payment.inbox VALUES ('payment-group', '0d80ac6f-1a8b-5ec6-bfcc-d60de7844a90', '2024-03-05 21:08:09.215249+00');
INSERT INTO oms_payment.owners VALUES ('vm', 1, '48e1c6df-08e8-4e55-a0a5-d12d3b3e6a10', '2024-03-05 21:08:03.528689+00', '2024-03-05 21:08:06.581637+00');
INSERT INTO oms_payment.payments VALUES ('01a22e49-5176-7231-84b9-6e92e3312d5b', 'CAPTURED', 'ann', 5997, 'EUR', '{"channel":"web"}', 'sim-oms-01a22e49-5176-7231-84b9-6e92e3312d5b', '2024-03-05 21:08:07.167544+00');
INSERT INTO oms_payment.payments VALUES ('01a22e49-5247-777a-beba-d6315fb48ad4', 'CAPTURED', 'bob', 1000, 'EUR', '{}', 'sim-oms-01a22e49-5247-777a-beba-d6315fb48ad4', '2024-03-05 21:08:07.339526+00');
INSERT INTO oms_payment.payments VALUES ('01a22e49-52a3-71a5-af6a-3e317ecca2eb', 'REFUNDED', 'cem', 2000, 'EUR', '{}', 'sim-oms-01a22e49-52a3-71a5-af6a-3e317ecca2eb', '2024-03-05 21:08:08.377044+00');
INSERT INTO oms_payment.payments VALUES ('01a22e49-5b4f-76be-b78d-795f18fb253c', 'INITIATED', 'dan', 500, 'EUR', '{}', NULL, '2024-03-05 21:08:09.215136+00');
INSERT INTO oms_payment.pinned VALUES ('currency', 'EUR');
INSERT INTO oms_payment.tasks VALUES ('01a22e49-5b4f-76be-b78d-795f18fb253c', 'charge', '', '2024-03-05 21:08:09.215321+00', NULL, 0, '2024-03-05 21:08:09.215321+00', NULL, '', NULL, NULL);
ALTER TABLE ONLY oms_inventory.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY oms_inventory.attempts
    ADD CONSTRAINT pk_attempts PRIMARY KEY (consumer, topic, part);
ALTER TABLE ONLY oms_inventory.dead_letters
    ADD CONSTRAINT pk_dead_letters PRIMARY KEY (id);
ALTER TABLE ONLY oms_inventory.gate
    ADD CONSTRAINT pk_gate PRIMARY KEY (id);
ALTER TABLE ONLY oms_inventory.idempotency
    ADD CONSTRAINT pk_idempotency PRIMARY KEY (key, scope);
ALTER TABLE ONLY oms_inventory.inbox
    ADD CONSTRAINT pk_inbox PRIMARY KEY (consumer, message_id);
ALTER TABLE ONLY oms_inventory.outbox
    ADD CONSTRAINT pk_outbox PRIMARY KEY (id);
ALTER TABLE ONLY oms_inventory.owners
    ADD CONSTRAINT pk_owners PRIMARY KEY (instance, slot);
ALTER TABLE ONLY oms_inventory.pinned
    ADD CONSTRAINT pk_pinned PRIMARY KEY (name);
ALTER TABLE ONLY oms_inventory.reservations
    ADD CONSTRAINT pk_reservations PRIMARY KEY (order_id);
ALTER TABLE ONLY oms_inventory.stock
    ADD CONSTRAINT pk_stock PRIMARY KEY (sku);
ALTER TABLE ONLY oms_inventory.stock_ledger
    ADD CONSTRAINT pk_stock_ledger PRIMARY KEY (reference, sku, kind);
ALTER TABLE ONLY oms_inventory.tasks
    ADD CONSTRAINT pk_tasks PRIMARY KEY (key, kind);
ALTER TABLE ONLY oms_notification.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY oms_notification.attempts
    ADD CONSTRAINT pk_attempts PRIMARY KEY (consumer, topic, part);
ALTER TABLE ONLY oms_notification.dead_letters
    ADD CONSTRAINT pk_dead_letters PRIMARY KEY (id);
ALTER TABLE ONLY oms_notification.inbox
    ADD CONSTRAINT pk_inbox PRIMARY KEY (consumer, message_id);
ALTER TABLE ONLY oms_notification.notifications
    ADD CONSTRAINT pk_notifications PRIMARY KEY (id);
ALTER TABLE ONLY oms_notification.outbox
    ADD CONSTRAINT pk_outbox PRIMARY KEY (id);
ALTER TABLE ONLY oms_notification.owners
    ADD CONSTRAINT pk_owners PRIMARY KEY (instance, slot);
ALTER TABLE ONLY oms_notification.pinned
    ADD CONSTRAINT pk_pinned PRIMARY KEY (name);
ALTER TABLE ONLY oms_notification.tasks
    ADD CONSTRAINT pk_tasks PRIMARY KEY (key, kind);
ALTER TABLE ONLY oms_notification.notifications
    ADD CONSTRAINT uq_notifications_order_id_kind UNIQUE (order_id, kind);
ALTER TABLE ONLY oms_order.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY oms_order.attempts
    ADD CONSTRAINT pk_attempts PRIMARY KEY (consumer, topic, part);
ALTER TABLE ONLY oms_order.dead_letters
    ADD CONSTRAINT pk_dead_letters PRIMARY KEY (id);
ALTER TABLE ONLY oms_order.idempotency
    ADD CONSTRAINT pk_idempotency PRIMARY KEY (key, scope);
ALTER TABLE ONLY oms_order.inbox
    ADD CONSTRAINT pk_inbox PRIMARY KEY (consumer, message_id);
ALTER TABLE ONLY oms_order.order_history
    ADD CONSTRAINT pk_order_history PRIMARY KEY (order_id, seq);
ALTER TABLE ONLY oms_order.orders
    ADD CONSTRAINT pk_orders PRIMARY KEY (id);
ALTER TABLE ONLY oms_order.outbox
    ADD CONSTRAINT pk_outbox PRIMARY KEY (id);
ALTER TABLE ONLY oms_order.owners
    ADD CONSTRAINT pk_owners PRIMARY KEY (instance, slot);
ALTER TABLE ONLY oms_order.pinned
    ADD CONSTRAINT pk_pinned PRIMARY KEY (name);
ALTER TABLE ONLY oms_order.tasks
    ADD CONSTRAINT pk_tasks PRIMARY KEY (key, kind);
ALTER TABLE ONLY oms_payment.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY oms_payment.attempts
    ADD CONSTRAINT pk_attempts PRIMARY KEY (consumer, topic, part);
ALTER TABLE ONLY oms_payment.dead_letters
    ADD CONSTRAINT pk_dead_letters PRIMARY KEY (id);
ALTER TABLE ONLY oms_payment.inbox
    ADD CONSTRAINT pk_inbox PRIMARY KEY (consumer, message_id);
ALTER TABLE ONLY oms_payment.outbox
    ADD CONSTRAINT pk_outbox PRIMARY KEY (id);
ALTER TABLE ONLY oms_payment.owners
    ADD CONSTRAINT pk_owners PRIMARY KEY (instance, slot);
ALTER TABLE ONLY oms_payment.payments
    ADD CONSTRAINT pk_payments PRIMARY KEY (order_id);
ALTER TABLE ONLY oms_payment.pinned
    ADD CONSTRAINT pk_pinned PRIMARY KEY (name);
ALTER TABLE ONLY oms_payment.tasks
    ADD CONSTRAINT pk_tasks PRIMARY KEY (key, kind);
CREATE INDEX ix_dead_letters_state_parked_at ON oms_inventory.dead_letters USING btree (state, parked_at);
CREATE INDEX ix_idempotency_at ON oms_inventory.idempotency USING btree (at);
CREATE INDEX ix_inbox_at ON oms_inventory.inbox USING btree (at);
CREATE INDEX ix_outbox_leased_until ON oms_inventory.outbox USING btree (leased_until, at);
CREATE INDEX ix_reservations_held ON oms_inventory.reservations USING btree (state) WHERE ((state)::text = 'HELD'::text);
CREATE INDEX ix_tasks_due_at ON oms_inventory.tasks USING btree (due_at);
CREATE INDEX ix_dead_letters_state_parked_at ON oms_notification.dead_letters USING btree (state, parked_at);
CREATE INDEX ix_inbox_at ON oms_notification.inbox USING btree (at);
CREATE INDEX ix_outbox_leased_until ON oms_notification.outbox USING btree (leased_until, at);
CREATE INDEX ix_tasks_due_at ON oms_notification.tasks USING btree (due_at);
CREATE INDEX ix_dead_letters_state_parked_at ON oms_order.dead_letters USING btree (state, parked_at);
CREATE INDEX ix_idempotency_at ON oms_order.idempotency USING btree (at);
CREATE INDEX ix_inbox_at ON oms_order.inbox USING btree (at);
CREATE INDEX ix_orders_created_at ON oms_order.orders USING btree (created_at, id);
CREATE INDEX ix_orders_unanswered ON oms_order.orders USING btree (created_at) WHERE ((state)::text = 'CREATED'::text);
CREATE INDEX ix_orders_user_id_created_at ON oms_order.orders USING btree (user_id, created_at, id);
CREATE INDEX ix_outbox_leased_until ON oms_order.outbox USING btree (leased_until, at);
CREATE INDEX ix_tasks_due_at ON oms_order.tasks USING btree (due_at);
CREATE INDEX ix_dead_letters_state_parked_at ON oms_payment.dead_letters USING btree (state, parked_at);
CREATE INDEX ix_inbox_at ON oms_payment.inbox USING btree (at);
CREATE INDEX ix_outbox_leased_until ON oms_payment.outbox USING btree (leased_until, at);
CREATE INDEX ix_tasks_due_at ON oms_payment.tasks USING btree (due_at);
