"""PostgreSQL: sessions, connections that send several statements in one text, credentials, joining, registration."""
