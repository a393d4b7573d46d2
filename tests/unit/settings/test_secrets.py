"""A secret is in no ``repr`` and in no fault, whatever else is wrong."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jit_middleware.errors import ConfigurationError
from jit_middleware.settings import Settings

MARK = "Zq7#"
SECRETS = (
    "JIT_SECRET_KEY", "JIT_OIDC_CLIENT_SECRET", "JIT_OIDC_PRIVATE_KEY", "JIT_DATABASE_URL", "JIT_REDIS_URL",
)  # fmt: skip
GOOD = {
    "JIT_PUBLIC_URL": "https://app.example.org",
    "JIT_SECRET_KEY": f"{MARK}1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM",
    "JIT_OIDC_ISSUER": "https://login.example.org",
    "JIT_OIDC_CLIENT_ID": "app",
    "JIT_OIDC_CLIENT_SECRET": f"{MARK} secret",
    "JIT_OIDC_PRIVATE_KEY": f"-----BEGIN {MARK}",
    "JIT_DATABASE_URL": f"postgresql://user:{MARK}@db.example/jit",
    "JIT_REDIS_URL": f"rediss://user:{MARK}@cache.example/0",
}

tails = st.text(alphabet=st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=50)


def failure(env: Mapping[str, str]) -> str:
    """All that a log could hold of this failure."""
    try:
        Settings.load(env)
    except ConfigurationError as error:
        return "".join(traceback.format_exception(error)) + repr(error) + repr(error.faults)
    pytest.fail("the settings were taken")


def test_repr_shows_no_secret() -> None:
    settings = Settings.load(GOOD)
    assert settings.connections[0].client_secret == f"{MARK} secret"
    assert MARK not in repr(settings)
    assert MARK not in str(settings)
    assert MARK not in settings.database_label
    assert settings.redis_label == "rediss://cache.example/0"


@given(st.dictionaries(st.sampled_from(SECRETS), tails))
def test_fault_texts_hold_no_secret(given_tails: Mapping[str, str]) -> None:
    broken = {name: MARK + tail for name, tail in given_tails.items()}
    assert MARK not in failure({**GOOD, **broken, "JIT_PUBLIC_URL": "nonsense"})


@given(st.sampled_from(SECRETS), tails)
def test_secret_given_as_the_name_of_its_file_is_not_shown(name: str, tail: str) -> None:
    env = {key: value for key, value in GOOD.items() if key != name}
    assert MARK not in failure({**env, f"{name}_FILE": MARK + tail})


@pytest.mark.parametrize(
    "toml",
    [
        f"secret_key = {MARK}",
        f'secret_key = "{MARK}',
        f'secret_key = "{MARK}"\nsecret_key = "{MARK}"',
        f'secret_key = ["{MARK}", 5]',
        f'[connections.x]\nclient_secret = ["{MARK}"]\nprivate_key = "{MARK}"\nclient_secret_file = "{MARK}"',
        f'database_url = "{MARK}"',
    ],
)
def test_fault_in_toml_shows_no_secret(tmp_path: Path, toml: str) -> None:
    (tmp_path / "jit.toml").write_text(toml)
    env = {name: value for name, value in GOOD.items() if name not in {"JIT_SECRET_KEY", "JIT_DATABASE_URL"}}
    assert MARK not in failure({**env, "JIT_CONFIG": str(tmp_path / "jit.toml")})


def test_public_url_with_a_password_is_not_shown() -> None:
    assert MARK not in failure({**GOOD, "JIT_PUBLIC_URL": f"https://user:{MARK}@app.example.org"})
    assert "Zq7" not in failure({**GOOD, "JIT_OIDC_ISSUER": "https://user:Zq7@login.example.org"})
