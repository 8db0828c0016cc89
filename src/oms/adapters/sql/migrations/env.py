"""Runs the migrations on the connection that `oms.adapters.sql.provisioning.migrate` passes, in its transaction."""

from alembic import context

from oms.adapters.sql.stores.tables import KINDS

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    target_metadata=KINDS[attributes["kind"]].metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
