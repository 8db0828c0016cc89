BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('notification_0004');
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
INSERT INTO "inbox" VALUES('notification-group','31bee788-509c-50b9-90a9-1a122040f257',1709672878465310);
INSERT INTO "inbox" VALUES('notification-group','4baa0580-87cb-561c-8be2-4d6b7c9ab41e',1709672878474801);
INSERT INTO "inbox" VALUES('notification-group','8b9ad374-1726-5e96-81d3-51a076e86249',1709672878474801);
INSERT INTO "inbox" VALUES('notification-group','3c0cca7d-49ec-59ff-8497-e6fc86b6f27e',1709672878480969);
INSERT INTO "inbox" VALUES('notification-group','9cadaa7b-cad8-531d-bffb-20c2bab05c8e',1709672878484675);
INSERT INTO "inbox" VALUES('notification-group','fec7929d-7b87-528d-bb4b-ee09d5e388d4',1709672878487952);
INSERT INTO "inbox" VALUES('notification-group','fbd20f97-80a6-5021-9777-a4d093d84f18',1709672878495470);
INSERT INTO "inbox" VALUES('notification-group','46eb7e45-f8e0-591d-92c6-804eabd66c68',1709672878968218);
INSERT INTO "inbox" VALUES('notification-group','5dedefae-65b2-5b6a-8436-ad73913fe7c0',1709672878979890);
CREATE TABLE notifications (
	id VARCHAR(200) NOT NULL, 
	order_id VARCHAR(64) NOT NULL, 
	kind VARCHAR(128) NOT NULL, 
	user_id VARCHAR(64) NOT NULL, 
	total_minor BIGINT NOT NULL, 
	currency VARCHAR(3) NOT NULL, 
	reason VARCHAR(32), 
	metadata TEXT NOT NULL, 
	at BIGINT, 
	sent_at BIGINT, 
	CONSTRAINT pk_notifications PRIMARY KEY (id), 
	CONSTRAINT uq_notifications_order_id_kind UNIQUE (order_id, kind)
);
INSERT INTO "notifications" VALUES('01a22e49-311b-771f-9802-a0e97aec4dcd:payment.success','01a22e49-311b-771f-9802-a0e97aec4dcd','payment.success','bob',1000,'EUR',NULL,'{}',1709672878465322,1709672878465310);
INSERT INTO "notifications" VALUES('01a22e49-3109-711c-b38b-7fc35d4ada52:payment.success','01a22e49-3109-711c-b38b-7fc35d4ada52','payment.success','ann',5997,'EUR',NULL,'{}',1709672878474810,1709672878474801);
INSERT INTO "notifications" VALUES('01a22e49-3157-769d-b893-bba8e05d433f:order.rejected','01a22e49-3157-769d-b893-bba8e05d433f','order.rejected','eve',900,'EUR','OUT_OF_STOCK','{}',1709672878474810,1709672878474801);
INSERT INTO "notifications" VALUES('01a22e49-311b-771f-9802-a0e97aec4dcd:order.confirmed','01a22e49-311b-771f-9802-a0e97aec4dcd','order.confirmed','bob',1000,'EUR',NULL,'{}',1709672878480975,1709672878480969);
INSERT INTO "notifications" VALUES('01a22e49-312c-7011-bdee-0ae6822cf7cf:payment.success','01a22e49-312c-7011-bdee-0ae6822cf7cf','payment.success','cem',2000,'EUR',NULL,'{}',1709672878484682,1709672878484675);
INSERT INTO "notifications" VALUES('01a22e49-3109-711c-b38b-7fc35d4ada52:order.confirmed','01a22e49-3109-711c-b38b-7fc35d4ada52','order.confirmed','ann',5997,'EUR',NULL,'{"channel":"web"}',1709672878487958,1709672878487952);
INSERT INTO "notifications" VALUES('01a22e49-312c-7011-bdee-0ae6822cf7cf:order.confirmed','01a22e49-312c-7011-bdee-0ae6822cf7cf','order.confirmed','cem',2000,'EUR',NULL,'{}',1709672878495478,1709672878495470);
INSERT INTO "notifications" VALUES('01a22e49-312c-7011-bdee-0ae6822cf7cf:payment.refunded','01a22e49-312c-7011-bdee-0ae6822cf7cf','payment.refunded','cem',2000,'EUR',NULL,'{}',1709672878968229,1709672878968218);
INSERT INTO "notifications" VALUES('01a22e49-312c-7011-bdee-0ae6822cf7cf:order.cancelled','01a22e49-312c-7011-bdee-0ae6822cf7cf','order.cancelled','cem',2000,'EUR','OPERATOR','{}',1709672878979897,1709672878979890);
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
