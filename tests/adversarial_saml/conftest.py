"""One verifier for all: it keeps nothing of one message for the next."""

from __future__ import annotations

import pytest

from jit_middleware.sso.saml.response import ResponseVerifier


@pytest.fixture(scope="session")
def verifier() -> ResponseVerifier:
    return ResponseVerifier()
