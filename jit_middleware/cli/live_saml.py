"""The steps of ``check --live`` for a SAML connection: libraries, metadata both ways, certificates and clocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from jit_middleware.bridge import ThreadLocks
from jit_middleware.cli.live import check_step_up, compare_clocks, way_out
from jit_middleware.cli.step import Step
from jit_middleware.connected import saml_strategy
from jit_middleware.errors import ConfigurationError, ProviderUnavailable, VerificationError
from jit_middleware.offload import InThisThread
from jit_middleware.ports import Clock, Fetch, Fetched, Transport
from jit_middleware.settings import SAMLConnection, Settings
from jit_middleware.system import SystemTokens

if TYPE_CHECKING:
    from jit_middleware.sso.saml.connect import SAMLStrategy
    from jit_middleware.sso.saml.idp_metadata import IdPMetadata

_SOON: Final = 30  # days before its end from which a certificate is worth a word
_DAY: Final = 86_400


async def check_saml(
    connection: SAMLConnection, settings: Settings, *, transport: Transport, clock: Clock
) -> list[Step]:
    """What the libraries, the two metadata documents and the clocks say; what needs a failed step is left out."""
    name = connection.name
    try:
        from jit_middleware.sso.saml.versions import library_versions

        strategy = saml_strategy(
            connection,
            settings,
            world="wsgi",
            transport=transport,
            clock=clock,
            tokens=SystemTokens(),
            locks=ThreadLocks(),
            offload=InThisThread(),
        )
    except ConfigurationError as error:
        return [Step(f"{name} libraries and keys", False, fault.problem, fault.fix) for fault in error.faults]
    steps = [Step(f"{name} libraries", True, library_versions()), await _own_metadata(connection, strategy)]
    steps += check_step_up(name, settings.step_up, _uris(settings))
    steps += [_certificate(f"{name} our certificate", pem, clock.now()) for pem in connection.sp_certificates]
    document = await _document(connection, transport)
    if isinstance(document, Step):
        return [*steps, document]
    body, answer = document
    if answer is not None:
        steps.append(compare_clocks(connection, answer, clock.now()))
    return [*steps, *_provider(connection, body, clock.now())]


def _uris(settings: Settings) -> list[str]:
    """The classes among those of the rules that a SAML provider can be asked for: the URIs (SAML Core §2.7.2.2)."""
    return [name for rule in settings.step_up for name in rule.acr if ":" in name]


async def _own_metadata(connection: SAMLConnection, strategy: SAMLStrategy) -> Step:
    document = await strategy.metadata()
    says = [
        strategy.entity_id,
        f"assertions to {strategy.acs_url}",
        f"{len(connection.sp_certificates)} certificates" if connection.sp_certificates else "no certificate",
        "Single Logout" if strategy.logs_out else "no Single Logout (it needs JIT_SAML_SP_KEY)",
        "signed" if connection.sign_metadata else "not signed",
        f"{len(document.body)} bytes",
    ]
    return Step(f"{connection.name} our metadata", True, "; ".join(says))


async def _document(connection: SAMLConnection, transport: Transport) -> tuple[bytes, Fetched | None] | Step:
    from jit_middleware.sso.saml.idp_source import LARGEST

    name, url = f"{connection.name} metadata", connection.metadata_url
    if connection.metadata_is_inline:
        return connection.idp_metadata.encode(), None
    if url is None:
        try:
            return _read(connection.idp_metadata), None
        except OSError as broken:
            problem = f"{connection.idp_metadata} cannot be read ({broken.strerror})."
            return Step(name, False, problem, "name a file that this user may read.")
    try:
        answer = await transport.fetch(
            Fetch(url, headers={"accept": "application/samlmetadata+xml"}, max_bytes=LARGEST)
        )
    except ProviderUnavailable as error:
        return Step(name, False, f"{url}: {error}.", way_out(error))
    if answer.status != 200:
        return Step(name, False, f"{url}: the answer has status {answer.status}.", "check the address.")
    return answer.body, answer


def _read(name: str) -> bytes:
    return Path(name).read_bytes()


def _provider(connection: SAMLConnection, body: bytes, now: int) -> Iterator[Step]:
    from jit_middleware.sso.saml.idp_metadata import read_document

    name = connection.name
    try:
        metadata = read_document(
            body, entity_id=connection.idp_entity_id, certificates=connection.metadata_certificates, now=now
        )
    except VerificationError as error:
        fix = f"look up {error.reason} in docs/errors.md; JIT_SAML_IDP_ENTITY_ID picks one provider of several."
        yield Step(f"{name} metadata", False, f"{error}.", fix)
        return
    until = "no end" if metadata.valid_until is None else f"valid for {(metadata.valid_until - now) // _DAY} days"
    signed = "signature verified" if connection.metadata_certificates else "signature not asked for"
    yield Step(f"{name} metadata", True, f"{metadata.entity_id}; {until}; {signed}")
    if connection.metadata_certificates and metadata.valid_until is None:
        detail = (
            "warning: signed without an end (validUntil), so an old copy would be believed for ever, with keys that "
            "the provider has given up since: ask the signer for an end"
        )
        yield Step(f"{name} metadata end", True, detail)
    yield from (_certificate(f"{name} provider's certificate", pem, now) for pem in metadata.certificates)
    yield from _requests(connection, metadata)
    if connection.sp_keys and not metadata.logout:
        yield Step(f"{name} logout", True, "the provider offers no Single Logout; people are signed out here only")


def _requests(connection: SAMLConnection, metadata: IdPMetadata) -> Sequence[Step]:
    name = f"{connection.name} requests"
    if metadata.wants_signed_requests and not connection.sp_keys:
        fix = "give JIT_SAML_SP_KEY and JIT_SAML_SP_CERT, if the provider refuses logins."
        return [Step(name, True, f"not signed, though the provider's metadata asks for it: {fix}")]
    signed = metadata.wants_signed_requests or connection.sign_requests
    return [Step(name, True, "signed" if signed else "not signed, and the provider does not ask for it")]


def _certificate(name: str, pem: str, now: int) -> Step:
    """A certificate with the days it has left. In SAML its end stops nothing, but most providers think so."""
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return Step(name, False, "it cannot be read.", "ask for a new one.")
    left = (int(certificate.not_valid_after_utc.timestamp()) - now) // _DAY
    subject = certificate.subject.rfc4514_string() or "no name"
    if left < 0:
        return Step(name, True, f"{subject}; its time ended {-left} days ago: plan a roll-over")
    return Step(name, True, f"{subject}; {left} days left{': plan a roll-over' if left <= _SOON else ''}")
