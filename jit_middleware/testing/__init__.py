"""For the tests of those who use this package.

Prove a custom user store (:mod:`~jit_middleware.testing.contract`), stand in for a provider
(:mod:`~jit_middleware.testing.provider`), sign in a test client (:mod:`~jit_middleware.testing.login`).
"""
