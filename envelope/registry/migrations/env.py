"""Run the migrations on the connection that `migrate.py` hands over, inside its transaction."""

from __future__ import annotations

from alembic import context

from envelope.registry.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
    transaction_per_migration=False,
)
context.run_migrations()
