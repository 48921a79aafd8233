"""The registry's one migration history (Alembic). Files in `versions` are never changed."""
