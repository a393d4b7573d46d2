"""OpenID Connect: what a provider says becomes a verified identity here, or a refusal with a name.

The rule of the room: a provider's word counts only after every check of the specification, made by our own code; the
libraries encode and do the cryptography. Each file is one part of the conversation: ``metadata``, ``authorization``,
``token``, ``id_token``, ``userinfo``, ``logout``, and ``pushed`` for what comes unasked. Only this room imports Authlib
and joserfc. Whatever bytes come in, only errors of our own tree come out, under a name from ``reasons``.
"""

from __future__ import annotations

from jit_middleware.sso.oidc.connect import OIDCStrategy
from jit_middleware.sso.oidc.reasons import Reason
from jit_middleware.sso.oidc.receiver import SignalReceiver

__all__ = ["OIDCStrategy", "Reason", "SignalReceiver"]
