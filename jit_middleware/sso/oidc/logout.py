"""Sign-out at the provider (OIDC RP-Initiated Logout 1.0): a URL for the browser, and nothing we wait for."""

from __future__ import annotations

from typing import Final

from jit_middleware.model import SessionRecord
from jit_middleware.sso.oidc.encoding import with_parameters
from jit_middleware.sso.oidc.metadata import ProviderMetadata

_LONGEST_HINT: Final = 4096  # with more, the URL grows beyond what servers take; the provider asks the person instead


def logout_url(
    metadata: ProviderMetadata, session: SessionRecord, *, client_id: str, return_url: str, state: str
) -> str | None:
    """Where to send the browser so that the provider's session ends too; ``None`` when the provider cannot do it."""
    if metadata.end_session_endpoint is None:
        return None
    parameters = [("client_id", client_id), ("post_logout_redirect_uri", return_url), ("state", state)]
    hint = session.logout_hint
    if hint is not None and len(hint) <= _LONGEST_HINT:
        parameters.insert(0, ("id_token_hint", hint))
    return with_parameters(metadata.end_session_endpoint, parameters)
