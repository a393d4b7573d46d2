"""Alembic's scripts: one file per step of the schema, run by :mod:`jit_middleware_sqlalchemy.upgrade` only."""
