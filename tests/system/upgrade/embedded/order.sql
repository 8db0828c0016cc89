BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('order_0006');
CREATE TABLE attempts (
	consumer VARCHAR(64) NOT NULL, 
	topic VARCHAR(128) NOT NULL, 
	part INTEGER NOT NULL, 
	position BIGINT NOT NULL, 
	tries INTEGER NOT NULL, 
	CONSTRAINT pk_attempts PRIMARY KEY (consumer, topic, part)
);
CREATE TABLE dead_letters (
	id VARCHAR(36) NOT NULL, 
	consumer VARCHAR(64) NOT NULL, 
	message_id VARCHAR(200) NOT NULL, 
	topic VARCHAR(128) NOT NULL, 
	part INTEGER NOT NULL, 
	position BIGINT NOT NULL, 
	"key" BLOB, 
	value BLOB, 
	headers TEXT NOT NULL, 
	cause VARCHAR(128) NOT NULL, 
	detail TEXT NOT NULL, 
	attempts INTEGER NOT NULL, 
	parked_at BIGINT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	order_id VARCHAR(64), 
	CONSTRAINT pk_dead_letters PRIMARY KEY (id)
);
CREATE TABLE idempotency (
	"key" VARCHAR(255) NOT NULL, 
	scope VARCHAR(160) NOT NULL, 
	fingerprint VARCHAR(64) NOT NULL, 
	body TEXT NOT NULL, 
	at BIGINT NOT NULL, 
	CONSTRAINT pk_idempotency PRIMARY KEY ("key", scope)
);
CREATE TABLE inbox (
	consumer VARCHAR(64) NOT NULL, 
	message_id VARCHAR(64) NOT NULL, 
	at BIGINT NOT NULL, 
	CONSTRAINT pk_inbox PRIMARY KEY (consumer, message_id)
)
 WITHOUT ROWID

;
INSERT INTO "inbox" VALUES('order-group','11b14963-2073-5056-95ab-49f28ec23129',1709672878380935);
INSERT INTO "inbox" VALUES('order-group','dbabbeb3-9203-5188-9a6a-75031b496525.09189cf917b25f89cba08cd5',1709672878431097);
INSERT INTO "inbox" VALUES('order-group','f5e82d43-ffe9-5c37-87ce-fb5edc55bfd3',1709672878431097);
INSERT INTO "inbox" VALUES('order-group','0162cea9-aac7-5f3c-9ad2-b94981974beb.81a0eb9495b7f7e011b12495',1709672878443683);
INSERT INTO "inbox" VALUES('order-group','f3026ce6-cbad-5808-9bab-a99cd14efc86',1709672878443683);
INSERT INTO "inbox" VALUES('order-group','606c925a-6daa-5b10-9a2c-7c69553b8831',1709672878453615);
INSERT INTO "inbox" VALUES('order-group','987c5c7e-0a26-5264-8997-ee927db0417c.c922e86522b4b029e90e7405',1709672878453615);
INSERT INTO "inbox" VALUES('order-group','59aa30b9-e35b-5235-b50f-27fce10cb2ab',1709672878458013);
INSERT INTO "inbox" VALUES('order-group','31bee788-509c-50b9-90a9-1a122040f257.c5f0478c24694f7df693124c',1709672878473462);
INSERT INTO "inbox" VALUES('order-group','4baa0580-87cb-561c-8be2-4d6b7c9ab41e.8e2b5792ea8073dac717bd83',1709672878479689);
INSERT INTO "inbox" VALUES('order-group','9cadaa7b-cad8-531d-bffb-20c2bab05c8e.2ddfab8f5a25eae6a1c59c8c',1709672878486275);
INSERT INTO "inbox" VALUES('order-group','46eb7e45-f8e0-591d-92c6-804eabd66c68.2ddfab8f5a25eae6a1c59c8c',1709672878967392);
INSERT INTO "inbox" VALUES('order-group','56fc7908-fb16-5b74-97a2-c6b47af0f3c3',1709672878989759);
CREATE TABLE order_history (
	order_id VARCHAR(64) NOT NULL, 
	seq INTEGER NOT NULL, 
	at BIGINT NOT NULL, 
	"trigger" VARCHAR(32) NOT NULL, 
	"before" VARCHAR(16) NOT NULL, 
	"after" VARCHAR(16) NOT NULL, 
	detail TEXT NOT NULL, 
	CONSTRAINT pk_order_history PRIMARY KEY (order_id, seq)
)
 WITHOUT ROWID

;
INSERT INTO "order_history" VALUES('01a22e49-3109-711c-b38b-7fc35d4ada52',1,1709672878350301,'place','ABSENT','CREATED','');
INSERT INTO "order_history" VALUES('01a22e49-3109-711c-b38b-7fc35d4ada52',2,1709672878380946,'order.created','CREATED','CREATED','');
INSERT INTO "order_history" VALUES('01a22e49-3109-711c-b38b-7fc35d4ada52',3,1709672878431108,'inventory.reserved','CREATED','RESERVED','');
INSERT INTO "order_history" VALUES('01a22e49-3109-711c-b38b-7fc35d4ada52',4,1709672878479695,'payment.success','RESERVED','CONFIRMED','');
INSERT INTO "order_history" VALUES('01a22e49-311b-771f-9802-a0e97aec4dcd',1,1709672878376895,'place','ABSENT','CREATED','');
INSERT INTO "order_history" VALUES('01a22e49-311b-771f-9802-a0e97aec4dcd',2,1709672878431108,'order.created','CREATED','CREATED','');
INSERT INTO "order_history" VALUES('01a22e49-311b-771f-9802-a0e97aec4dcd',3,1709672878443689,'inventory.reserved','CREATED','RESERVED','');
INSERT INTO "order_history" VALUES('01a22e49-311b-771f-9802-a0e97aec4dcd',4,1709672878473472,'payment.success','RESERVED','CONFIRMED','');
INSERT INTO "order_history" VALUES('01a22e49-312c-7011-bdee-0ae6822cf7cf',1,1709672878415704,'place','ABSENT','CREATED','');
INSERT INTO "order_history" VALUES('01a22e49-312c-7011-bdee-0ae6822cf7cf',2,1709672878443689,'order.created','CREATED','CREATED','');
INSERT INTO "order_history" VALUES('01a22e49-312c-7011-bdee-0ae6822cf7cf',3,1709672878453628,'inventory.reserved','CREATED','RESERVED','');
INSERT INTO "order_history" VALUES('01a22e49-312c-7011-bdee-0ae6822cf7cf',4,1709672878486281,'payment.success','RESERVED','CONFIRMED','');
INSERT INTO "order_history" VALUES('01a22e49-312c-7011-bdee-0ae6822cf7cf',5,1709672878940385,'cancel by operator','CONFIRMED','CANCELLING','');
INSERT INTO "order_history" VALUES('01a22e49-312c-7011-bdee-0ae6822cf7cf',6,1709672878967402,'payment.refunded','CANCELLING','CANCELLED','');
INSERT INTO "order_history" VALUES('01a22e49-312c-7011-bdee-0ae6822cf7cf',7,1709672878989766,'inventory.released','CANCELLED','CANCELLED','');
INSERT INTO "order_history" VALUES('01a22e49-3157-769d-b893-bba8e05d433f',1,1709672878441880,'place','ABSENT','CREATED','');
INSERT INTO "order_history" VALUES('01a22e49-3157-769d-b893-bba8e05d433f',2,1709672878453628,'order.created','CREATED','CREATED','');
INSERT INTO "order_history" VALUES('01a22e49-3157-769d-b893-bba8e05d433f',3,1709672878458019,'inventory.rejected','CREATED','REJECTED','');
INSERT INTO "order_history" VALUES('01a22e49-3514-759c-b50e-a4b1495ac763',1,1709672879381717,'place','ABSENT','CREATED','');
CREATE TABLE orders (
	id VARCHAR(64) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	version INTEGER NOT NULL, 
	user_id VARCHAR(64), 
	total_minor BIGINT, 
	currency VARCHAR(3), 
	items TEXT, 
	metadata TEXT, 
	created_at BIGINT, 
	updated_at BIGINT, 
	deadline_at BIGINT, 
	reason VARCHAR(32), 
	early TEXT NOT NULL, early_terms TEXT, 
	CONSTRAINT pk_orders PRIMARY KEY (id)
);
INSERT INTO "orders" VALUES('01a22e49-3109-711c-b38b-7fc35d4ada52','CONFIRMED',4,'ann',5997,'EUR','{"lamp":3,"desk":1}','{"channel":"web"}',1709672878350301,1709672878479695,1709673778350301,NULL,'',NULL);
INSERT INTO "orders" VALUES('01a22e49-311b-771f-9802-a0e97aec4dcd','CONFIRMED',4,'bob',1000,'EUR','{"lamp":1}',NULL,1709672878376895,1709672878473472,1709673778376895,NULL,'',NULL);
INSERT INTO "orders" VALUES('01a22e49-312c-7011-bdee-0ae6822cf7cf','CANCELLED',7,'cem',2000,'EUR','{"desk":2}',NULL,1709672878415704,1709672878989766,1709673778415704,'OPERATOR','',NULL);
INSERT INTO "orders" VALUES('01a22e49-3157-769d-b893-bba8e05d433f','REJECTED',3,'eve',900,'EUR','{"lamp":1000}',NULL,1709672878441880,1709672878458019,1709673778441880,'OUT_OF_STOCK','',NULL);
INSERT INTO "orders" VALUES('01a22e49-3514-759c-b50e-a4b1495ac763','CREATED',1,'dan',500,'EUR','{"lamp":1}',NULL,1709672879381717,1709672879381717,4102444800000000,NULL,'',NULL);
CREATE TABLE outbox (
	id VARCHAR(36) NOT NULL, 
	topic VARCHAR(128) NOT NULL, 
	"key" BLOB, 
	value BLOB NOT NULL, 
	headers TEXT NOT NULL, 
	leased_until BIGINT NOT NULL, 
	at BIGINT NOT NULL, owner VARCHAR(36), 
	CONSTRAINT pk_outbox PRIMARY KEY (id)
);
CREATE TABLE owners (
	instance VARCHAR(255) NOT NULL, 
	slot INTEGER NOT NULL, 
	owner VARCHAR(36) NOT NULL, 
	server_started_at BIGINT NOT NULL, 
	registered_at BIGINT NOT NULL, 
	CONSTRAINT pk_owners PRIMARY KEY (instance, slot)
);
CREATE TABLE pinned (
	name VARCHAR(32) NOT NULL, 
	value VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_pinned PRIMARY KEY (name)
);
INSERT INTO "pinned" VALUES('system','bba7859d40df4b0687b57bd216374360');
INSERT INTO "pinned" VALUES('opened','1');
INSERT INTO "pinned" VALUES('currency','EUR');
INSERT INTO "pinned" VALUES('acknowledged','20');
CREATE TABLE tasks (
	"key" VARCHAR(200) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	payload TEXT NOT NULL, 
	due_at BIGINT NOT NULL, 
	lease VARCHAR(36), 
	attempts INTEGER NOT NULL, 
	created_at BIGINT NOT NULL, 
	called_at BIGINT, 
	note TEXT NOT NULL, 
	trace VARCHAR(64), owner VARCHAR(36), 
	CONSTRAINT pk_tasks PRIMARY KEY ("key", kind)
);
INSERT INTO "tasks" VALUES('01a22e49-3514-759c-b50e-a4b1495ac763','deadline','',4102444800000000,NULL,0,1709672879381541,NULL,'',NULL,NULL);
CREATE INDEX ix_dead_letters_state_parked_at ON dead_letters (state, parked_at);
CREATE INDEX ix_idempotency_at ON idempotency (at);
CREATE INDEX ix_inbox_at ON inbox (at);
CREATE INDEX ix_orders_created_at ON orders (created_at, id);
CREATE INDEX ix_orders_unanswered ON orders (created_at) WHERE state = 'CREATED';
CREATE INDEX ix_orders_user_id_created_at ON orders (user_id, created_at, id);
CREATE INDEX ix_outbox_leased_until ON outbox (leased_until, at);
CREATE INDEX ix_tasks_due_at ON tasks (due_at);
COMMIT;
