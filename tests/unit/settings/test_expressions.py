"""JMESPath in settings: judged at start, and asked which claims it looks at."""

from __future__ import annotations

import pytest

from jit_middleware.settings.connections import needed_claims
from jit_middleware.settings.expressions import claims_compared, claims_mentioned, expression, looks_at, paths_mentioned
from jit_middleware.settings.values import BadValue


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("email", {"email"}),
        ("preferred_username || email || sub", {"preferred_username", "email", "sub"}),
        ("address.country", {"address"}),
        ("a.b.c", {"a"}),
        ("emails[0].value", {"emails"}),
        ("emails[?primary].value | [0]", {"emails"}),
        ("groups[].name", {"groups"}),
        ("groups[1:3]", {"groups"}),
        ("sort_by(groups, &name)[*].id", {"groups"}),
        ("contains(groups || `[]`, 'ops')", {"groups"}),
        ("{x: a, y: b.c}", {"a", "b"}),
        ("[a, b]", {"a", "b"}),
        ("a.{x: b}", {"a"}),
        ("@.email", {"email"}),
        ("@.a.b", {"a"}),
        ("@ | a | b", {"a"}),
        ("a && !b", {"a", "b"}),
        ("a == 'x' && b != `1`", {"a", "b"}),
        ('"https://claims.example/groups"[0]', {"https://claims.example/groups"}),
        ("*.name", set()),
        ("'fixed'", set()),
        ("@", set()),
    ],
)
def test_top_level_claims_are_found(source: str, names: set[str]) -> None:
    assert expression(source) == source
    assert claims_mentioned(source) == names


def test_claims_of_every_id_token_are_not_needed() -> None:
    assert needed_claims(["preferred_username || sub", "email", "iss"]) == ("email", "preferred_username")
    assert needed_claims([]) == ()


@pytest.mark.parametrize("source", ["", "a[", "a ||", "a b", "nonsense(a)", "x.lower(a)", "a" * 1001, "(" * 5000, 5])
def test_expression_that_cannot_work_is_refused(source: object) -> None:
    with pytest.raises(BadValue):
        expression(source)


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("groups..name", "(column 8)"),
        ("contains(groups, 'ops') b", "(column 25)"),
        ("hd = 'example.org'", "(column 4)"),
        ("name == 'open", "(column 9)"),
        ("contains(groups, 'ops'", "(it ends too early)"),
    ],
)
def test_expression_that_is_none_is_refused_with_the_place_where_it_ceases_to_be_one(source: str, place: str) -> None:
    with pytest.raises(BadValue) as caught:
        expression(source)
    assert caught.value.problem.endswith(f"is not a JMESPath expression {place}.")


@pytest.mark.parametrize(
    "source", ["||".join("a" * 40), "a" + "[0]" * 2 + ".b" * 300, "!" * 40 + "a", "[" * 40 + "a" + "]" * 40]
)
def test_expression_of_too_many_parts_or_levels_is_refused(source: str) -> None:
    with pytest.raises(BadValue, match=r"parts|nested"):
        expression(source)


@pytest.mark.parametrize(
    ("source", "fix"),
    [
        ("hd == example.org", "'example.org'"),
        ("example.org == hd", "'example.org'"),
        ("hd != www.example.COM", "'www.example.COM'"),
        ('hd == "example.org"', "'example.org'"),
        ('email == "ann@example.de"', "'ann@example.de'"),
        ("sub == '1' && !(hd == example.org)", "'example.org'"),
        ("ends_with(email, example.org)", "'example.org'"),
        ("contains(orgs[*].domain, example.org)", None),
        ("contains(domains, example.org)", "'example.org'"),
        ("orgs[?domain == example.net].name", "'example.net'"),
        ("email_verified == true", "`true`"),
        ("blocked != false", "`false`"),
        ("hd != null", "`null`"),
        ("orgs[0].name == null", "`null`"),
        ("hd == 'example.org'", None),
        ("user.org == 'example.org'", None),
        ("hd == @.example.org", None),
        ("hd == @.null", None),
        ("address.country == country", None),
        ("user.id == sub", None),
        ('groups == "https://claims.example.org"', None),
        ('user."https://claims.example.org/x" == sub', None),
        ("azp == aud", None),
        ("email_verified == `true`", None),
        ("true || example.org", None),
    ],
)
def test_text_without_its_quotes_is_refused_where_it_can_be_no_claim(source: str, fix: str | None) -> None:
    if fix is None:
        assert expression(source) == source
        return
    with pytest.raises(BadValue, match=r"^it compares with a claim of the name ") as caught:
        expression(source)
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    ("source", "pairs"),
    [
        ("hd == admin", [("hd", "admin")]),
        ("hd == firma.de && 'x' == dept || sub != dept", [("hd", "firma.de"), ("sub", "dept")]),
        ("contains(groups, admin)", [("groups", "admin")]),
        ("orgs[?name == acme]", [("name", "acme")]),
        ("hd == @.admin", []),
        ("hd == 'admin' && level > `3` && contains(groups, 'x')", []),
        ("", []),
    ],
)
def test_claims_that_are_compared_with_claims_are_found(source: str, pairs: list[tuple[str, str]]) -> None:
    assert list(claims_compared(source)) == pairs


@pytest.mark.parametrize(
    ("source", "paths"),
    [
        ("groups", {("groups",)}),
        ("realm_access.roles || groups", {("realm_access", "roles"), ("groups",)}),
        ('attributes."http://schemas/groups"[0]', {("attributes", "http://schemas/groups")}),
        ("a.b.c[0].d", {("a", "b", "c")}),
        ("a | b", {("a",)}),
        ("@.a.b", {("a", "b")}),
        ("a.{x: b}", {("a",)}),
        ("keys(@)", {()}),
        ("*.name", {()}),
        ("@", {()}),
        ("[?name == 'x']", {()}),
        ("'fixed'", set()),
    ],
)
def test_places_an_expression_looks_at_are_found(source: str, paths: set[tuple[str, ...]]) -> None:
    assert paths_mentioned(expression(source)) == paths


@pytest.mark.parametrize(
    ("source", "looks"),
    [
        ("contains(realm_access.roles, 'x')", True),
        ("contains(realm_access.roles.inner, 'x')", True),
        ("realm_access == `{}`", True),
        ("length(@) > `1`", True),
        ("realm_access.name == 'x'", False),
        ("department == 'x'", False),
        ("`true`", False),
    ],
)
def test_an_expression_looks_at_a_place_above_it_and_below_it(source: str, looks: bool) -> None:
    assert looks_at(expression(source), {("realm_access", "roles")}) is looks
