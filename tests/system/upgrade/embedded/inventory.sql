BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('inventory_0004');
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
CREATE TABLE gate (
	id INTEGER NOT NULL, 
	epoch INTEGER NOT NULL, 
	CONSTRAINT pk_gate PRIMARY KEY (id)
);
INSERT INTO "gate" VALUES(1,0);
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
INSERT INTO "inbox" VALUES('inventory-group','11b14963-2073-5056-95ab-49f28ec23129',1709672878368622);
INSERT INTO "inbox" VALUES('inventory-group','f5e82d43-ffe9-5c37-87ce-fb5edc55bfd3',1709672878416816);
INSERT INTO "inbox" VALUES('inventory-group','f3026ce6-cbad-5808-9bab-a99cd14efc86',1709672878440926);
INSERT INTO "inbox" VALUES('inventory-group','606c925a-6daa-5b10-9a2c-7c69553b8831',1709672878449687);
INSERT INTO "inbox" VALUES('inventory-group','3c0cca7d-49ec-59ff-8497-e6fc86b6f27e',1709672878482440);
INSERT INTO "inbox" VALUES('inventory-group','fec7929d-7b87-528d-bb4b-ee09d5e388d4',1709672878487104);
INSERT INTO "inbox" VALUES('inventory-group','fbd20f97-80a6-5021-9777-a4d093d84f18',1709672878496514);
INSERT INTO "inbox" VALUES('inventory-group','5dedefae-65b2-5b6a-8436-ad73913fe7c0',1709672878972578);
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
INSERT INTO "pinned" VALUES('default_stock','10');
INSERT INTO "pinned" VALUES('currency','EUR');
INSERT INTO "pinned" VALUES('acknowledged','19');
CREATE TABLE reservations (
	order_id VARCHAR(64) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	items TEXT NOT NULL, 
	updated_at BIGINT, 
	CONSTRAINT pk_reservations PRIMARY KEY (order_id)
);
INSERT INTO "reservations" VALUES('01a22e49-3109-711c-b38b-7fc35d4ada52','COMMITTED','{"desk":1,"lamp":3}',1709672878487111);
INSERT INTO "reservations" VALUES('01a22e49-311b-771f-9802-a0e97aec4dcd','COMMITTED','{"lamp":1}',1709672878482449);
INSERT INTO "reservations" VALUES('01a22e49-312c-7011-bdee-0ae6822cf7cf','RELEASED','{"desk":2}',1709672878972594);
INSERT INTO "reservations" VALUES('01a22e49-3157-769d-b893-bba8e05d433f','REJECTED','{}',1709672878449695);
CREATE TABLE stock (
	sku VARCHAR(64) NOT NULL, 
	on_hand BIGINT NOT NULL, 
	held BIGINT NOT NULL, 
	CONSTRAINT pk_stock PRIMARY KEY (sku), 
	CONSTRAINT ck_stock_bounds CHECK (0 <= held AND held <= on_hand)
);
INSERT INTO "stock" VALUES('desk',9,0);
INSERT INTO "stock" VALUES('lamp',6,0);
CREATE TABLE stock_ledger (
	reference VARCHAR(64) NOT NULL, 
	sku VARCHAR(64) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	on_hand BIGINT NOT NULL, 
	held BIGINT NOT NULL, 
	at BIGINT NOT NULL, 
	CONSTRAINT pk_stock_ledger PRIMARY KEY (reference, sku, kind)
)
 WITHOUT ROWID

;
INSERT INTO "stock_ledger" VALUES('01a22e49-3109-711c-b38b-7fc35d4ada52','desk','COMMIT',-1,-1,1709672878487104);
INSERT INTO "stock_ledger" VALUES('01a22e49-3109-711c-b38b-7fc35d4ada52','desk','HOLD',0,1,1709672878368622);
INSERT INTO "stock_ledger" VALUES('01a22e49-3109-711c-b38b-7fc35d4ada52','lamp','COMMIT',-3,-3,1709672878487104);
INSERT INTO "stock_ledger" VALUES('01a22e49-3109-711c-b38b-7fc35d4ada52','lamp','HOLD',0,3,1709672878368622);
INSERT INTO "stock_ledger" VALUES('01a22e49-311b-771f-9802-a0e97aec4dcd','lamp','COMMIT',-1,-1,1709672878482440);
INSERT INTO "stock_ledger" VALUES('01a22e49-311b-771f-9802-a0e97aec4dcd','lamp','HOLD',0,1,1709672878416816);
INSERT INTO "stock_ledger" VALUES('01a22e49-312c-7011-bdee-0ae6822cf7cf','desk','COMMIT',-2,-2,1709672878496514);
INSERT INTO "stock_ledger" VALUES('01a22e49-312c-7011-bdee-0ae6822cf7cf','desk','HOLD',0,2,1709672878440926);
INSERT INTO "stock_ledger" VALUES('01a22e49-312c-7011-bdee-0ae6822cf7cf','desk','RESTOCK',2,0,1709672878972578);
INSERT INTO "stock_ledger" VALUES('default','desk','DEFAULT',10,0,1709672878368622);
INSERT INTO "stock_ledger" VALUES('default','lamp','DEFAULT',10,0,1709672878368622);
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
CREATE INDEX ix_idempotency_at ON idempotency (at);
CREATE INDEX ix_inbox_at ON inbox (at);
CREATE INDEX ix_outbox_leased_until ON outbox (leased_until, at);
CREATE INDEX ix_reservations_held ON reservations (state) WHERE state = 'HELD';
CREATE INDEX ix_tasks_due_at ON tasks (due_at);
COMMIT;
