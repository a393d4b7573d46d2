"""Identify and verify: the one room that turns a provider's message into a ``VerifiedIdentity``.

Nothing outside sees what the provider said before every check has passed. A strategy speaks one protocol to one
provider; the room ``oidc`` is the only one that knows Authlib and joserfc, and trusts neither to have checked enough.
"""
