"""Stages with a SAML connection, under the names that the stories of ``tests.scenarios`` ask for."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.client import Edge
from tests.peers.databases import mariadb_server, postgresql_server
from tests.peers.saml.fixtures import (
    lemonldap_idp,
    lemonldap_sp,
    pysaml2_idp,
    samlp_idp,
    simplesamlphp_idp,
    sp_keys,
)
from tests.peers.saml.keys import KeyPair
from tests.peers.saml.simplesamlphp import SimpleSAMLphp
from tests.scenarios.conftest import EDGES
from tests.scenarios_saml.stage import SAMLStageBuilder

__all__ = [
    "lemonldap_idp",
    "lemonldap_sp",
    "mariadb_server",
    "postgresql_server",
    "pysaml2_idp",
    "samlp_idp",
    "simplesamlphp_idp",
    "sp_keys",
]

# A connection has nothing to do with a driver: one of each kind for each edge, not the whole matrix of the main job.
WORLDS: tuple[tuple[Edge, str], ...] = (
    ("wsgi", "sqlite"),
    ("asgi", "sqlite"),
    ("wsgi", "postgresql+psycopg"),
    ("asgi", "postgresql+asyncpg"),
    ("wsgi", "mariadb+pymysql"),
    ("asgi", "mariadb+aiomysql"),
)


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def _builder(
    request: pytest.FixtureRequest,
    simplesamlphp_idp: SimpleSAMLphp,
    sp_keys: KeyPair,
    tmp_path: Path,
    closing: ExitStack,
) -> Generator[SAMLStageBuilder]:
    yield SAMLStageBuilder(request.param, simplesamlphp_idp, sp_keys, request, tmp_path, closing)


def _id(world: tuple[Edge, str]) -> str:
    return f"{world[0]}-{world[1]}"


in_every_world = pytest.fixture(params=WORLDS, ids=_id, name="any_world")(_builder)
on_both_edges = pytest.fixture(params=EDGES, ids=_id, name="build")(_builder)
