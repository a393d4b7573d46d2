"""SAML 2.0 Web Browser SSO and Single Logout as a strategy: the provider's answers come by POST, ours go signed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Literal

from jit_middleware.errors import ProviderRefused, VerificationError
from jit_middleware.model import SessionRecord, VerifiedIdentity
from jit_middleware.ports import Background, Clock, Locks, Offload, TokenSource, Transport
from jit_middleware.settings import SAMLConnection
from jit_middleware.sso.saml.expectations import Expectations, VerifiedAssertion
from jit_middleware.sso.saml.identity import identity_of, known_name
from jit_middleware.sso.saml.idp_metadata import POST, REDIRECT, IdPMetadata
from jit_middleware.sso.saml.idp_source import idp_source
from jit_middleware.sso.saml.logout import LogoutExpectations, logout_request, logout_response, read_logout
from jit_middleware.sso.saml.reasons import Reason
from jit_middleware.sso.saml.request import authn_request, derived_id, sent
from jit_middleware.sso.saml.response import ResponseVerifier
from jit_middleware.sso.saml.sp_keys import key_pairs
from jit_middleware.sso.saml.sp_metadata import CONTENT_TYPE, sp_metadata
from jit_middleware.sso.strategy import (
    Document,
    LoginState,
    LogoutAnswered,
    LogoutMessage,
    LogoutRequested,
    Onward,
)

#: What a provider that has just changed its keys looks like, with the metadata of yesterday.
_UNKNOWN_KEY: Final = frozenset(
    {Reason.SIGNATURE_INVALID, Reason.DIGEST_MISMATCH, Reason.CERTIFICATE_UNUSABLE, Reason.VERIFIERS_DISAGREE}
)
_FRESH: Final = 600  # seconds: a login that began at the provider is this old at most, like its assertion


class SAMLStrategy:
    """One SAML identity provider's way to sign in. Making it asks nothing of the provider.

    Raises ``ConfigurationError`` when made with keys that cannot be used, or libraries that do not fit each other.
    """

    def __init__(
        self,
        connection: SAMLConnection,
        *,
        acs_url: str,
        sls_url: str,
        metadata_url: str,
        transport: Transport,
        clock: Clock,
        tokens: TokenSource,
        locks: Locks,
        offload: Offload,
        background: Background,
    ) -> None:
        self._connection = connection
        self._acs_url = acs_url
        self._sls_url = sls_url
        self._entity_id = connection.sp_entity_id or metadata_url
        self._clock = clock
        self._tokens = tokens
        self._offload = offload
        self._keys = key_pairs(connection)
        self._verifier = ResponseVerifier()
        self._idp = idp_source(
            connection, transport=transport, clock=clock, locks=locks, offload=offload, background=background
        )

    @property
    def name(self) -> str:
        return self._connection.name

    @property
    def label(self) -> str:
        return self._connection.label

    @property
    def tenant(self) -> str:
        return self._connection.tenant

    @property
    def answer(self) -> Literal["query", "form_post"]:
        return "form_post"

    @property
    def state_parameter(self) -> Literal["state", "RelayState"]:
        return "RelayState"

    @property
    def entity_id(self) -> str:
        """What the provider calls us."""
        return self._entity_id

    @property
    def acs_url(self) -> str:
        """Where the provider sends its answers."""
        return self._acs_url

    @property
    def allows_unsolicited(self) -> bool:
        return self._connection.allow_idp_initiated

    @property
    def logs_out(self) -> bool:
        return bool(self._keys)

    # --- signing in ---------------------------------------------------------------------------------------------

    async def request_phase(self, login: LoginState) -> Onward:
        idp = await self._idp.get()
        binding = self._binding(idp.sign_on)
        destination = idp.sign_on[binding]
        xml = authn_request(
            self._connection,
            login,
            sp_entity_id=self._entity_id,
            acs_url=self._acs_url,
            destination=destination,
            now=self._clock.now(),
        )
        signs = self._connection.sign_requests or idp.wants_signed_requests
        key = self._keys[0] if signs and self._keys else None
        return sent(xml, destination, binding=binding, parameter="SAMLRequest", relay_state=login.state, key=key)

    async def callback_phase(self, answer: Mapping[str, str], login: LoginState) -> VerifiedIdentity:
        contexts = () if login.step_up is not None and login.step_up.acr else self._connection.authn_contexts
        return await self._identify(answer, derived_id(login.nonce), since=login.created_at, contexts=contexts)

    async def unsolicited_phase(self, answer: Mapping[str, str]) -> VerifiedIdentity:
        if not self.allows_unsolicited:
            raise VerificationError("idp_initiated_off", "a login that began at the provider")
        contexts = self._connection.authn_contexts
        return await self._identify(answer, None, since=self._clock.now() - _FRESH, contexts=contexts)

    async def _identify(
        self, answer: Mapping[str, str], request_id: str | None, *, since: int, contexts: tuple[str, ...]
    ) -> VerifiedIdentity:
        """Who signed in; ``since`` is when at the earliest, where the connection forces a new authentication, and
        ``contexts`` are how, where they are not judged by whoever asks (a step-up)."""
        idp = await self._idp.get()
        try:
            assertion = await self._verify(answer, request_id, idp, contexts)
        except VerificationError as error:
            renewed = await self._idp.renewed(idp) if error.reason in _UNKNOWN_KEY else idp
            if renewed.certificates == idp.certificates:
                if error.reason == Reason.STATUS_NOT_SUCCESS:
                    raise ProviderRefused(error.reason, error.detail) from error
                raise
            assertion = await self._verify(answer, request_id, renewed, contexts)
        if self._connection.force_authn and assertion.authn_instant < since - self._connection.clock_skew:
            # Core §3.4.1: the provider is asked to authenticate the person anew, and not every provider does.
            raise VerificationError(
                "login_too_old", "authenticated before this login began, although ForceAuthn was on"
            )
        identity = identity_of(assertion, self._connection, sp_entity_id=self._entity_id)
        # Unasked for, it is as old as the provider says, whose clock may be ahead of ours.
        unasked = assertion.issued_at - self._connection.clock_skew
        return replace(identity, begun_at=unasked if request_id is None else since)

    async def _verify(
        self, answer: Mapping[str, str], request_id: str | None, idp: IdPMetadata, contexts: tuple[str, ...]
    ) -> VerifiedAssertion:
        expected = Expectations(
            idp_entity_id=idp.entity_id,
            idp_certificates=idp.certificates,
            sp_entity_id=self._entity_id,
            acs_url=self._acs_url,
            request_id=request_id,
            now=self._clock.now(),
            clock_skew=self._connection.clock_skew,
            decryption_keys=self._keys,
            requested_contexts=contexts,
        )
        response = answer.get("SAMLResponse", "")
        return await self._offload(lambda: self._verifier.verify(response, expected))

    # --- signing out --------------------------------------------------------------------------------------------

    async def logout_phase(
        self,
        session: SessionRecord,
        *,
        return_url: str,  # noqa: ARG002 - the provider knows our logout endpoint from the metadata
        state: str,
    ) -> Onward | None:
        name = known_name(session.logout_hint)
        if not self._keys or name is None:
            return None
        idp = await self._idp.get()
        if not idp.logout:
            return None
        binding = self._binding(idp.logout)
        destination = idp.logout[binding].location
        xml = logout_request(
            name, derived_id(state), sp_entity_id=self._entity_id, destination=destination, now=self._clock.now()
        )
        return sent(xml, destination, binding=binding, parameter="SAMLRequest", relay_state=state, key=self._keys[0])

    async def logout_message(self, message: LogoutMessage) -> LogoutRequested | LogoutAnswered:
        idp = await self._idp.get()
        try:
            return await self._read_logout(message, idp)
        except VerificationError as error:
            renewed = await self._idp.renewed(idp) if error.reason in _UNKNOWN_KEY else idp
            if renewed.certificates == idp.certificates:
                raise
            return await self._read_logout(message, renewed)

    async def _read_logout(self, message: LogoutMessage, idp: IdPMetadata) -> LogoutRequested | LogoutAnswered:
        expected = LogoutExpectations(
            idp_entity_id=idp.entity_id,
            idp_certificates=idp.certificates,
            sp_entity_id=self._entity_id,
            sls_url=self._sls_url,
            now=self._clock.now(),
            clock_skew=self._connection.clock_skew,
            decryption_keys=self._keys,
        )
        return await self._offload(lambda: read_logout(message, expected))

    async def logout_answer(self, request: LogoutRequested) -> Onward | None:
        idp = await self._idp.get()
        if not idp.logout or not self._keys:
            return None
        binding = self._binding(idp.logout)
        destination = idp.logout[binding].response_location
        xml = logout_response(
            request.message_id,
            f"_{self._tokens(20)}",
            sp_entity_id=self._entity_id,
            destination=destination,
            now=self._clock.now(),
        )
        return sent(
            xml,
            destination,
            binding=binding,
            parameter="SAMLResponse",
            relay_state=request.relay_state,
            key=self._keys[0],
        )

    # --- who we are ---------------------------------------------------------------------------------------------

    async def metadata(self) -> Document:
        body = sp_metadata(
            self._connection,
            sp_entity_id=self._entity_id,
            acs_url=self._acs_url,
            sls_url=self._sls_url,
            signs_requests=self._connection.sign_requests,
            key=self._keys[0] if self._keys else None,
            now=self._clock.now(),
        )
        return Document(CONTENT_TYPE, body)

    def _binding(self, offered: Mapping[str, object]) -> str:
        """The binding that the connection prefers, if the provider offers it, else the other one."""
        wanted = REDIRECT if self._connection.binding == "redirect" else POST
        return wanted if wanted in offered else next(iter(offered))
