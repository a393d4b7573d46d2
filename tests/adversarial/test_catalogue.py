"""The catalogue of attacks says where each is tried, and it is."""

from __future__ import annotations

import importlib

import pytest

from tests.adversarial.cases import every_case
from tests.adversarial.catalogue import HOSTILE, ROWS, SAML_DOOR
from tests.adversarial_saml.test_through_both_edges import AS_CONFIGURED

WANTED = {*range(1, 24), 53, *range(57, 62), *range(66, 70)}
CASES = {HOSTILE: {case.name for case in every_case()}, SAML_DOOR: {attack.name for attack in AS_CONFIGURED}}


def test_every_row_is_there() -> None:
    assert set(ROWS) == WANTED
    assert len({row.name for row in ROWS.values()}) == len(ROWS)


@pytest.mark.parametrize(
    "place",
    sorted({place for row in ROWS.values() for place in (*row.oidc, *row.saml) if not place.startswith("- ")}),
)
def test_place_exists(place: str) -> None:
    where, _, case = place.partition("[")
    module, _, function = where.partition(":")
    assert function.startswith("test_")
    assert callable(getattr(importlib.import_module(f"tests.{module}"), function))
    if case:
        assert case.removesuffix("]") in CASES[where]


@pytest.mark.parametrize("number", sorted(ROWS))
def test_each_protocol_has_a_test_or_a_reason(number: int) -> None:
    row = ROWS[number]
    for places in (row.oidc, row.saml):
        assert places
        tried = [place for place in places if not place.startswith("- ")]
        assert tried or all(len(place) > 20 for place in places)
    assert not any(place.startswith(("scenarios_saml", "adversarial_saml")) for place in row.oidc)
    assert all(place.startswith(("scenarios_saml", "adversarial_saml", "- ")) for place in row.saml)
