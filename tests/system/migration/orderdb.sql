-- The database of the system replaced, as far as it is known: the names of the tables, that every order says CREATED,
-- and the order of tests/wire (the first one here). Types and columns are those that its framework makes of such a
-- class by default; docs/migration.md names them as assumptions.

CREATE TABLE orders (
    id uuid NOT NULL PRIMARY KEY,
    status character varying(255),
    total_amount numeric(38,2),
    user_id uuid
);

CREATE TABLE order_items (
    order_id uuid NOT NULL REFERENCES orders (id),
    product_id uuid NOT NULL,
    quantity integer,
    PRIMARY KEY (order_id, product_id)
);

COPY orders (id, status, total_amount, user_id) FROM stdin;
4e0b85d1-5421-4ccf-9695-59986ebebbae	CREATED	500.00	11111111-1111-1111-1111-111111111111
9a3f6a52-0c37-4a53-8f60-0a4c7c1f2d11	CREATED	19.90	11111111-1111-1111-1111-111111111111
c5d1e2f3-7777-4b4b-9c9c-123456789abc	CREATED	0.00	22222222-2222-2222-2222-222222222222
\.

COPY order_items (order_id, product_id, quantity) FROM stdin;
4e0b85d1-5421-4ccf-9695-59986ebebbae	aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa	2
4e0b85d1-5421-4ccf-9695-59986ebebbae	bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb	1
9a3f6a52-0c37-4a53-8f60-0a4c7c1f2d11	bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb	3
c5d1e2f3-7777-4b4b-9c9c-123456789abc	aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa	1
\.
