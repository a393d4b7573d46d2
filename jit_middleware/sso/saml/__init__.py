"""SAML 2.0: what an identity provider says becomes a verified identity here, or a refusal with a name.

The rule of the room: nobody is believed before our guard has judged the shape of the message, our own verifier and
libxmlsec agree on its signature, and our exact checks and python3-saml agree on its meaning; and what is believed is
read only from the bytes that were signed. Only this room imports onelogin, lxml and xmlsec, and only a deployment
with a SAML connection imports this room: it opens only when the libraries fit each other.
"""

from __future__ import annotations

from jit_middleware.sso.saml.libraries import require_libraries

require_libraries()
