"""Alembic's entry: run the steps on the connection (and in the transaction) that was handed in."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from jit_middleware_sqlalchemy.schema import VERSION_TABLE, metadata

connection = context.config.attributes["connection"]
if not isinstance(connection, Connection):
    raise TypeError("run the migrations with `jit-middleware migrate`: they need its connection and its lock")

# The caller holds the schema lock and an open transaction: Alembic sees that and neither begins nor commits one.
context.configure(connection=connection, target_metadata=metadata, version_table=VERSION_TABLE)
context.run_migrations()
