"""OpenID Connect as a strategy: the authorization code flow with PKCE, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from jit_middleware.model import SessionRecord, VerifiedIdentity
from jit_middleware.ports import Clock, Locks, TokenSource, Transport
from jit_middleware.settings.connections import OIDCConnection
from jit_middleware.sso.oidc.authorization import (
    authorization_url,
    judge_answer,
    pushed_authorization_url,
    request_parameters,
)
from jit_middleware.sso.oidc.client import ClientAuthentication
from jit_middleware.sso.oidc.id_token import IDTokenVerifier, Redeemed
from jit_middleware.sso.oidc.identity import identity_of
from jit_middleware.sso.oidc.kept import Kept
from jit_middleware.sso.oidc.keys import ProviderKeys
from jit_middleware.sso.oidc.logout import logout_url
from jit_middleware.sso.oidc.metadata import ProviderMetadata, fetch_metadata
from jit_middleware.sso.oidc.token import exchange_code, use_refresh_token
from jit_middleware.sso.oidc.userinfo import Userinfo
from jit_middleware.sso.strategy import LoginState


class OIDCStrategy:
    """One OpenID provider's way to sign in. Making it asks nothing of the provider.

    Raises ``ConfigurationError`` when made with a private key that cannot be used.
    """

    def __init__(
        self,
        connection: OIDCConnection,
        *,
        redirect_uri: str,
        transport: Transport,
        clock: Clock,
        tokens: TokenSource,
        locks: Locks,
    ) -> None:
        self._connection = connection
        self._redirect_uri = redirect_uri
        self._tokens = tokens

        async def load() -> ProviderMetadata:
            return await fetch_metadata(connection.issuer, transport)

        self._metadata: Kept[ProviderMetadata] = Kept(load, clock=clock, locks=locks)
        self._keys = keys = ProviderKeys(self._metadata, transport, clock=clock, locks=locks)
        self._client = ClientAuthentication(connection, transport, clock=clock, tokens=tokens)
        self._verifier = IDTokenVerifier(connection, keys, clock=clock)
        self._userinfo = Userinfo(connection, keys, transport, clock=clock)

    @property
    def metadata(self) -> Kept[ProviderMetadata]:
        """What the provider says of itself, for whoever else deals with it."""
        return self._metadata

    @property
    def keys(self) -> ProviderKeys:
        """The provider's keys, for whoever else verifies what it signs."""
        return self._keys

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
        return self._connection.response_mode or "query"

    @property
    def state_parameter(self) -> Literal["state", "RelayState"]:
        return "state"

    async def request_phase(self, login: LoginState) -> str:
        metadata = await self._metadata.get()
        client_id = self._connection.client_id
        parameters = request_parameters(
            self._connection,
            login,
            self._redirect_uri,
            offered_scopes=metadata.scopes,
            offered_acr=metadata.acr_values,
        )
        if metadata.requires_pushed_requests or self._connection.pushed_authorization:
            return await pushed_authorization_url(metadata, client_id, parameters, self._client)
        return authorization_url(metadata, client_id, parameters)

    async def callback_phase(self, answer: Mapping[str, str], login: LoginState) -> VerifiedIdentity:
        metadata = await self._metadata.get()
        code = judge_answer(answer, login, metadata)
        tokens = await exchange_code(
            code,
            code_verifier=login.code_verifier,
            redirect_uri=self._redirect_uri,
            metadata=metadata,
            client=self._client,
        )
        claims = await self._verifier.verify(tokens.id_token, Redeemed(login, code, tokens.access_token))
        claims = await self._userinfo.complete(claims, tokens.access_token, metadata)
        return identity_of(claims, self._connection, tokens.id_token, tokens.refresh_token, begun_at=login.created_at)

    async def refresh(self, refresh_token: str) -> str | None:
        """Ask, by a refresh token, whether the person is still welcome; the token that takes its place, if one does.

        Raises ``ProviderRefused``, ``ProviderUnavailable`` or ``VerificationError``.
        """
        return await use_refresh_token(refresh_token, metadata=await self._metadata.get(), client=self._client)

    async def logout_phase(self, session: SessionRecord, *, return_url: str, state: str) -> str | None:
        metadata = await self._metadata.get()
        return logout_url(metadata, session, client_id=self._connection.client_id, return_url=return_url, state=state)
