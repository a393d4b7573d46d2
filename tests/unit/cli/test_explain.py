"""``explain``: rule by rule, from pasted claims or from the trail; nothing is changed by it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from jit_middleware.bridge import step
from jit_middleware.cli import main
from jit_middleware.model import Profile
from jit_middleware.system import SystemClock, SystemTokens
from jit_middleware_sqlalchemy import SQLAlchemyLedger, SQLAlchemyUserStore
from tests.databases import prepared

CLAIMS = {
    "sub": "ada-1",
    "preferred_username": "ada",
    "email": "ada@example.org",
    "email_verified": True,
    "groups": ["ops"],
    "salary": "a secret of the provider's",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in {
        "JIT_PUBLIC_URL": "https://app.example.org",
        "JIT_SECRET_KEY": "vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM",
        "JIT_OIDC_ISSUER": "https://login.example.org",
        "JIT_OIDC_CLIENT_ID": "app",
        "JIT_OIDC_CLIENT_SECRET": "s3cret",
        "JIT_DATABASE_URL": f"sqlite:///{tmp_path / 'jit.db'}",
        "JIT_DEFAULT_ROLES": "viewer",
        "JIT_ROLE_RULES": '[{"id": "ops", "when": "contains(groups, \'ops\')", "grant": ["operator"]}]',
    }.items():
        monkeypatch.setenv(name, value)
    prepared(tmp_path / "jit.db")
    return tmp_path


def pasted(place: Path, claims: object) -> str:
    file = place / "claims.json"
    file.write_text(json.dumps(claims))
    return str(file)


def rows(place: Path) -> int:
    with sqlite3.connect(place / "jit.db") as db:
        tables = ("jit_users", "jit_identity_links", "jit_grants", "jit_audit", "jit_feed")
        return sum(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables)


def test_a_person_who_would_get_in_is_told_by_every_rule(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", pasted(place, CLAIMS)]) == 0
    told = capsys.readouterr().out
    assert "identity   oidc: ada-1 at https://login.example.org" in told
    assert "e-mail     ada@example.org (vouched for)" in told
    assert "step       role_rule:ops: fired (operator)" in told
    assert "outcome    a new user is created" in told
    assert "role       operator (idp:oidc), new" in told
    assert "secret" not in told, "a claim that no rule looks at is not shown"
    assert rows(place) == 0


def test_a_person_who_would_be_refused_is_a_no_with_its_reason(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JIT_ALLOWED_DOMAINS", "elsewhere.example")
    assert main(["explain", pasted(place, CLAIMS), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["outcome"], told["code"], told["reason"]) == ("refused", "not_provisioned", "domain_not_allowed")
    assert told["steps"][-1] == {"rule": "allowed_domains", "outcome": "refused", "detail": "domain_not_allowed"}
    assert told["user"] is None
    assert rows(place) == 0


def test_a_name_that_is_another_users_is_told_of_and_nothing_is_left(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = SQLAlchemyLedger(f"sqlite:///{place / 'jit.db'}", clock=SystemClock(), tokens=SystemTokens())
    step(ledger.prepare())
    SQLAlchemyUserStore(ledger).create(Profile("another identity", "Ada"))
    step(ledger.close())
    before = rows(place)
    assert main(["explain", pasted(place, CLAIMS), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["reason"] == "username_taken"
    assert rows(place) == before


def test_claims_may_be_pasted(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(CLAIMS)))
    assert main(["explain", "-", "--connection", "oidc", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["grants"] == [
        {"role": "viewer", "source": "birthright"},
        {"role": "operator", "source": "idp:oidc"},
    ]


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ("[1]", "not a JSON object"),
        ("{", "not JSON"),
        ('{"preferred_username": "ada"}', "No login gets as far as that"),
        ('{"sub": "a", "email": 7}', "No login gets as far as that"),
        ('{"sub": "' + "a" * 300_000 + '"}', "at most 256 KiB"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_claims_that_no_login_has_are_wrong_use(
    place: Path, claims: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = place / "claims.json"
    file.write_text(claims)
    assert main(["explain", str(file)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["explain"], ["explain", "no-such-file"], ["explain", "x", "--reference", "y"]])
def test_wrong_use_is_said_so(place: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err


def test_an_unknown_connection_names_those_there_are(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", pasted(place, CLAIMS), "--connection", "okta"]) == 2
    assert "oidc" in capsys.readouterr().err


def test_before_there_is_a_database_the_first_login_is_explained_and_none_is_made(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "jit.db").unlink()
    assert main(["explain", pasted(place, CLAIMS)]) == 0
    told = capsys.readouterr()
    assert "outcome    a new user is created" in told.out
    assert f"note: there is no database {place / 'jit.db'}" in told.err
    assert [each.name for each in place.iterdir()] == ["claims.json"]


@pytest.mark.parametrize("reference", ["-abc", "--json", "-h", "---"])
def test_a_reference_that_looks_like_an_option_is_one(
    place: Path, reference: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place
    assert main(["explain", "--reference", reference]) == 1
    assert f"knows no reference {reference!r}" in capsys.readouterr().err


def test_an_unknown_reference_is_a_no(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--reference", "abc"]) == 1
    assert "knows no reference" in capsys.readouterr().err


def test_a_saml_assertion_is_pasted_by_its_attributes(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ISSUER", "CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.delenv(f"JIT_OIDC_{name}")
    monkeypatch.setenv("JIT_SAML_IDP_METADATA", "https://idp.example.org/metadata")
    monkeypatch.setenv("JIT_SAML_IDP_ENTITY_ID", "https://idp.example.org")
    document = {
        "name_id": "ada-1",
        "attributes": {"uid": "ada", "mail": ["ada@example.org"], "groups": "ops"},
    }
    assert main(["explain", pasted(place, document), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["issuer"], told["subject"]) == ("https://idp.example.org", "ada-1")
    assert told["mapped"]["groups"] == ["ops"]
    assert {grant["role"] for grant in told["grants"]} == {"viewer", "operator"}
    assert main(["explain", pasted(place, {**document, "roles": ["x"]})]) == 2
    assert "roles is no part of an assertion here" in capsys.readouterr().err
    monkeypatch.delenv("JIT_SAML_IDP_ENTITY_ID")
    assert main(["explain", pasted(place, document)]) == 2
    complaint = capsys.readouterr().err
    assert 'issuer is missing: add "issuer" with the provider\'s entity ID' in complaint
    assert "JIT_SAML_IDP_ENTITY_ID" in complaint
    assert main(["explain", pasted(place, {**document, "issuer": "https://idp.example.org"})]) == 0
