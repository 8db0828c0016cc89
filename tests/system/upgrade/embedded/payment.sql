BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('payment_0005');
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
CREATE TABLE inbox (
	consumer VARCHAR(64) NOT NULL, 
	message_id VARCHAR(64) NOT NULL, 
	at BIGINT NOT NULL, 
	CONSTRAINT pk_inbox PRIMARY KEY (consumer, message_id)
)
 WITHOUT ROWID

;
INSERT INTO "inbox" VALUES('payment-group','dbabbeb3-9203-5188-9a6a-75031b496525',1709672878400859);
INSERT INTO "inbox" VALUES('payment-group','0162cea9-aac7-5f3c-9ad2-b94981974beb',1709672878433745);
INSERT INTO "inbox" VALUES('payment-group','987c5c7e-0a26-5264-8997-ee927db0417c',1709672878454210);
INSERT INTO "inbox" VALUES('payment-group','80cc378a-24d0-5e4c-af2c-76d53a8e34ef',1709672878953017);
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
CREATE TABLE payments (
	order_id VARCHAR(64) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	user_id VARCHAR(64), 
	total_minor BIGINT, 
	currency VARCHAR(3), 
	metadata TEXT NOT NULL, 
	payment_id VARCHAR(64), 
	updated_at BIGINT, 
	CONSTRAINT pk_payments PRIMARY KEY (order_id)
);
INSERT INTO "payments" VALUES('01a22e49-3109-711c-b38b-7fc35d4ada52','CAPTURED','ann',5997,'EUR','{"channel":"web"}','sim-oms-01a22e49-3109-711c-b38b-7fc35d4ada52',1709672878469745);
INSERT INTO "payments" VALUES('01a22e49-311b-771f-9802-a0e97aec4dcd','CAPTURED','bob',1000,'EUR','{}','sim-oms-01a22e49-311b-771f-9802-a0e97aec4dcd',1709672878444380);
INSERT INTO "payments" VALUES('01a22e49-312c-7011-bdee-0ae6822cf7cf','REFUNDED','cem',2000,'EUR','{}','sim-oms-01a22e49-312c-7011-bdee-0ae6822cf7cf',1709672878964708);
CREATE TABLE pinned (
	name VARCHAR(32) NOT NULL, 
	value VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_pinned PRIMARY KEY (name)
);
INSERT INTO "pinned" VALUES('system','bba7859d40df4b0687b57bd216374360');
INSERT INTO "pinned" VALUES('opened','1');
INSERT INTO "pinned" VALUES('currency','EUR');
INSERT INTO "pinned" VALUES('acknowledged','17');
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
CREATE INDEX ix_dead_letters_state_parked_at ON dead_letters (state, parked_at);
CREATE INDEX ix_inbox_at ON inbox (at);
CREATE INDEX ix_outbox_leased_until ON outbox (leased_until, at);
CREATE INDEX ix_tasks_due_at ON tasks (due_at);
COMMIT;
