"""JMESPath at work: plain JSON or nothing, within a budget, whatever the claims are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jit_middleware.model import JSON, Claims
from jit_middleware.settings.evaluation import TooCostly, evaluation
from jit_middleware.settings.expressions import expression

LARGE: Claims = {
    "groups": [f"group-{number}" for number in range(2_000)],
    "people": [{"id": f"id-{number}", "at": {"number": number}} for number in range(2_000)],
    "text": "x" * 60_000,
    "numbers": list(range(2_000)),
}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("people[?at.number > `1998`].id", ["id-1999"]),
        ("sort_by(people, &at.number)[0].id", "id-0"),
        ("groups[?starts_with(@, 'group-199')] | length(@)", 11),
        ("people[*].[id, at.number][] | length(@)", 4_000),
        ("max_by(people, &at.number).id", "id-1999"),
        ("contains(groups, 'group-7')", True),
        ("join(', ', groups[:2])", "group-0, group-1"),
        ("groups == groups", True),
        ("length(to_string(groups)) > `1000`", True),
        ("absent || text | length(@)", 60_000),
        ("", None),
        ("absent", None),
    ],
)
def test_what_operators_write_fits_the_budget_with_the_largest_claims(source: str, found: JSON) -> None:
    assert evaluation(source)(LARGE) == found


@pytest.mark.parametrize(
    "source",
    [
        " | ".join(["[@, @]"] * 20),
        " | ".join(["[@, @][]"] * 20),
        " | ".join(["{a: @, b: @}"] * 20),
        "join(text, groups)",
        "people[*].[@, @, @].[@, @, @].[@, @, @]",
        "map(&[@, @, @, @, @, @, @, @, @, @], people) | [@, @, @, @]",
        "people[*].[id, id, id, id, id, id, id, id, id, id] | [*][*].[@, @, @]",
        " && ".join(["[people, people] == [people, people]"] * 6),
        " || ".join(["groups[?@ == 'x' || @ == 'y'][0]"] * 15),
    ],
)
def test_what_makes_much_out_of_little_is_stopped(source: str) -> None:
    assert expression(source) == source
    with pytest.raises(TooCostly):
        evaluation(source)(LARGE)


@pytest.mark.parametrize(
    "source",
    [
        "groups[::0]",
        "ceil(to_number('inf'))",
        "to_number('nan')",
        "[to_number('-inf')]",
        "{a: to_number('1e999')}",
        "to_number('1" + "0" * 60 + "')",
        "merge(@, 'x')",
        "&groups",
        "[&groups]",
        "not_null(&groups)",
        "sort(groups[*].id)[0]",
        "abs('x')",
        'avg(`[1, "x"]`)',
        "avg([to_number('9" + "9" * 400 + "')])",
    ],
)
def test_what_is_no_json_or_no_operation_is_nothing(source: str) -> None:
    assert evaluation(expression(source))(LARGE) is None


@pytest.mark.parametrize("source", ["text < `1`", "`1` >= text", "people < groups"])
def test_what_cannot_be_ordered_is_in_no_order(source: str) -> None:
    assert evaluation(expression(source))(LARGE) is False


#: Each asks about ``hd``, ``level``, ``groups``, ``blocked``, ``example`` or ``admin``, which these claims do not have.
TOLD: Claims = {"sub": "1", "dept": "sales", "listed": ["a"], "text": "guest", "held": None, "orgs": [{"name": "x"}]}


@pytest.mark.parametrize(
    "source",
    [
        "hd == example.org",
        "hd == admin",
        "hd == hd",
        "held == hd",
        "hd != 'example.org'",
        "'example.org' != hd",
        "held != 'x'",
        "dept != admin",
        "hd == held.name[0]",
        "[hd] == [example.org]",
        "{a: hd} == {a: admin}",
        "[dept, hd] != ['sales', 'x']",
        "to_string(hd) == to_string(example.org)",
        "to_string(hd) == 'null'",
        "length(to_array(groups)) > `0`",
        "level < `3`",
        "!(level < `3`)",
        "!(hd == 'example.org')",
        "!(hd != 'example.org')",
        "!!(hd != 'example.org')",
        "!blocked",
        "!(blocked || suspended)",
        "!(hd == 'x' || dept == 'it')",
        "!(dept == 'it' || hd == 'x')",
        "!(hd == 'x' && dept == 'sales')",
        "!(dept == 'sales' && hd == 'x')",
        "(hd == 'x') == `false`",
        "(hd == 'x' || dept == 'it') == `false`",
        "(level < `3` || dept == 'it') == `false`",
        "(hd == 'x') != `true`",
        "contains(groups, 'guest')",
        "!contains(groups, 'guest')",
        "!contains(to_array(groups), 'guest')",
        "!contains(groups || roles, 'guest')",
        "!(contains(groups, 'guest') || contains(listed, 'guest'))",
        "contains(groups, 'guest') == `false`",
        "contains([hd], admin)",
        "!contains(listed, admin)",
        "!contains([dept, hd], 'guest')",
        "!contains([groups, listed][], 'guest')",
        "!contains([groups, realm.roles][], 'guest')",
        "!contains(text, 'guest')",
        "starts_with(hd, 'x')",
        "!starts_with(hd, 'x')",
        "!ends_with(hd, admin)",
        "!(starts_with(hd, 'x') || dept == 'it')",
        "orgs[?owner == admin] | [0].name == 'x'",
        "!orgs[0].blocked",
        "hd == 'x' | !@",
        "!groups",
        "groups[?@ == 'guest'] == `[]`",
        "!groups[?@ == 'guest']",
        "dept == 'sales' && hd != 'x'",
        "dept == 'it' || !blocked",
    ],
)
def test_a_condition_about_a_claim_that_is_missing_is_not_true(source: str) -> None:
    assert evaluation(source)(TOLD) is not True


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("hd == `null`", True),
        ("hd != `null`", False),
        ("dept != `null`", True),
        ("type(hd) == 'null'", True),
        ("!(blocked || `false`)", True),
        ("!(hd == 'x' || `false`)", True),
        ("!contains(groups || `[]`, 'guest')", True),
        ("(hd || 'none') != 'x'", True),
        ("not_null(blocked, `false`) == `false`", True),
        ("hd == 'x' || dept == 'sales'", True),
        ("dept == 'sales' || hd == 'x'", True),
        ("!(hd == 'x') || dept == 'sales'", True),
        ("!(dept == 'it' && hd == 'x')", True),
        ("!(dept == 'it')", True),
        ("!(dept == 'it' || dept == 'law')", True),
        ("!contains(listed, 'guest')", True),
        ("contains([groups, listed][], 'a')", True),
        ("!contains([listed, listed][], 'guest')", True),
        ("dept != 'it'", True),
        ("!`[]`", True),
        ("!`0`", False),
        ("hd == 'x'", False),
        ("!blocked", False),
        ("contains(groups, 'a') || contains(roles, 'b')", False),
        ("groups || listed", ["a"]),
        ("hd || dept", "sales"),
        ("groups || `[]`", []),
    ],
)
def test_a_condition_says_itself_what_a_missing_claim_counts_for(source: str, found: JSON) -> None:
    assert evaluation(expression(source))(TOLD) == found


@pytest.mark.parametrize(
    ("subject", "search", "found"),
    [
        (["admin"], "admin", True),
        ("admin", "admin", False),
        ("not-admin,guest", "admin", False),
        (["x,admin"], "admin", False),
        (["Admin"], "admin", False),
        ([1], True, False),
        ([True], 1, False),
        ([True], True, True),
        ([1.0], 1, True),
        ([["admin"]], "admin", False),
        (None, "admin", False),
        ([], "admin", False),
    ],
    ids=repr,
)
def test_contains_asks_for_an_element_and_for_nothing_less(subject: JSON, search: JSON, found: bool) -> None:
    assert evaluation("contains(subject, search)")({"subject": subject, "search": search}) is found


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("abc"), inner),
)
PARTS = st.sampled_from(
    ["a", "a.b", "a[*].b", "a[]", "a[?b == c]", "a[?b > `1`]", "*", "*.a", "[a, b]", "{x: a}", "a[1:]", "a[::-1]", "@",
     "length(a)", "sort(a)", "sort_by(a, &b)", "to_number(a)", "to_string(@)", "keys(a)", "values(@)", "sum(a)", "a < b",
     "max(a)", "min_by(a, &b)", "join('-', a)", "merge(a, b)", "reverse(a)", "map(&b, a)", "!a", "a && b", "a || b"]
)  # fmt: skip


@given(st.lists(PARTS, min_size=1, max_size=6).map(" | ".join), st.dictionaries(st.sampled_from("abc"), ANYTHING))
def test_any_expression_answers_json_for_any_claims(source: str, claims: Claims) -> None:
    found = evaluation(expression(source))(claims)
    assert found is None or isinstance(found, (bool, int, float, str, list, dict))


SHORT = st.sampled_from(
    ["a", "a || b", "a || b || c", "contains(a, 'x')", "contains(a || b, 'x')", "contains(a, 'x') || b"]
)
SMALL = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 2), st.sampled_from(["", "x", "xy"]), st.just({}), st.just({"x": 1}),
    st.lists(st.sampled_from(["x", "y", 0, True, None]), max_size=3),
)  # fmt: skip


@given(SHORT, st.dictionaries(st.sampled_from("abc"), SMALL))
def test_what_is_asked_without_the_interpreter_answers_as_with_it(source: str, claims: Claims) -> None:
    assert evaluation(source)(claims) == evaluation(f"`true` && ({source})")(claims)
