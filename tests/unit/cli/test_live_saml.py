"""``check --live`` for a SAML connection: each step says ok, or what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path

import pytest

from jit_middleware.cli.live_saml import check_saml
from jit_middleware.cli.step import Step
from jit_middleware.errors import ProviderUnavailable
from jit_middleware.ports import Fetch, Fetched
from jit_middleware.settings import SAMLConnection, Settings
from jit_middleware.sso.saml.signature import sign_enveloped
from tests.conftest import FakeClock
from tests.unit.sso.saml.protocol.idp import IDP, METADATA_URL, NOW, descriptor, key_pair

SP = key_pair("sp")
BASE = {"JIT_PUBLIC_URL": "https://app.example", "JIT_SECRET_KEY": "vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM"}
WITH_KEY = {"JIT_SAML_SP_KEY": SP.private_key_pem, "JIT_SAML_SP_CERT": SP.certificate_pem}


class Provider:
    def __init__(self, body: bytes | None, *, status: int = 200, date: int | None = NOW) -> None:
        self._body = body
        self._status = status
        self._headers = {} if date is None else {"date": formatdate(date, usegmt=True)}

    async def fetch(self, request: Fetch) -> Fetched:
        assert request.url == METADATA_URL
        if self._body is None:
            raise ProviderUnavailable("unreachable", "idp.example")
        return Fetched(self._status, self._headers, self._body)

    async def close(self) -> None: ...


def steps(provider: Provider | None = None, clock: FakeClock | None = None, /, **env: str) -> Mapping[str, Step]:
    settings = Settings.load({**BASE, "JIT_SAML_IDP_METADATA": METADATA_URL, **env})
    (connection,) = settings.connections
    assert isinstance(connection, SAMLConnection)
    transport = provider or Provider(descriptor().encode())
    found = asyncio.run(check_saml(connection, settings, transport=transport, clock=clock or FakeClock()))
    assert all(step.fix for step in found if not step.ok)
    return {step.name.removeprefix("saml "): step for step in found}


def failing(found: Mapping[str, Step]) -> set[str]:
    return {name for name, step in found.items() if not step.ok}


def test_a_sound_connection_passes_every_step() -> None:
    found = steps()
    assert failing(found) == set()
    assert set(found) == {"libraries", "our metadata", "clock", "metadata", "provider's certificate", "requests"}
    assert "libxml2" in found["libraries"].detail
    assert "https://app.example/_jit/acs/saml" in found["our metadata"].detail
    assert "no Single Logout" in found["our metadata"].detail
    assert IDP in found["metadata"].detail
    assert "29 days left: plan a roll-over" in found["provider's certificate"].detail


def test_our_own_certificate_is_counted_too() -> None:
    found = steps(**WITH_KEY)
    assert "CN=sp; 29 days left" in found["our certificate"].detail
    assert "; Single Logout" in found["our metadata"].detail


def test_a_certificate_whose_time_is_over_is_worth_a_word_and_no_failure() -> None:
    clock = FakeClock()
    clock.advance(60 * 86_400)
    found = steps(Provider(descriptor().encode(), date=None), clock)
    assert found["provider's certificate"].ok
    assert "ended" in found["provider's certificate"].detail
    assert "not compared" in found["clock"].detail


@pytest.mark.parametrize(
    ("provider", "failed", "said"),
    [
        (Provider(None), "metadata", "unreachable"),
        (Provider(b"", status=404), "metadata", "status 404"),
        (Provider(b"<html/>"), "metadata", "metadata_malformed"),
        (Provider(descriptor().encode(), date=NOW - 90), "clock", "-90s"),
    ],
)
def test_what_is_wrong_is_named(provider: Provider, failed: str, said: str) -> None:
    found = steps(provider)
    assert failing(found) == {failed}
    assert said in found[failed].detail


def test_another_entity_id_than_the_metadata_has_is_named() -> None:
    found = steps(JIT_SAML_IDP_ENTITY_ID="urn:other")
    assert "metadata_entity_unknown" in found["metadata"].detail


def test_keys_that_do_not_fit_end_the_check() -> None:
    other = key_pair("other")
    found = steps(JIT_SAML_SP_KEY=SP.private_key_pem, JIT_SAML_SP_CERT=other.certificate_pem)
    assert set(found) == failing(found) == {"libraries and keys"}
    assert "no certificate belongs" in found["libraries and keys"].detail


def test_a_provider_that_wants_signatures_without_a_key_is_worth_a_word() -> None:
    asking = Provider(descriptor(role='WantAuthnRequestsSigned="true"').encode())
    assert "not signed, though" in steps(asking)["requests"].detail
    assert steps(asking, **WITH_KEY)["requests"].detail == "signed"


def test_signed_metadata_without_an_end_is_worth_a_word() -> None:
    def end(attributes: str) -> Step | None:
        xml = descriptor(attributes=f'ID="_d" {attributes}').encode()
        signed = Provider(sign_enveloped(xml, key_pair("federation")))
        found = steps(signed, JIT_SAML_METADATA_CERT=key_pair("federation").certificate_pem)
        assert failing(found) == set()
        assert "signature verified" in found["metadata"].detail
        return found.get("metadata end")

    warned = end("")
    assert warned is not None
    assert warned.detail.startswith("warning: signed without an end")
    assert end('validUntil="2027-02-01T00:00:00Z"') is None
    assert "metadata end" not in steps()


def test_a_file_is_read_and_a_document_in_the_settings_too(tmp_path: Path) -> None:
    place = tmp_path / "idp.xml"
    place.write_text(descriptor())
    assert failing(steps(JIT_SAML_IDP_METADATA=str(place))) == set()
    assert failing(steps(JIT_SAML_IDP_METADATA=descriptor())) == set()
