"""The SAML identity providers as fixtures: one of each for a worker's whole run, started when first asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.peers.saml.keys import KeyPair, fresh_key_pair
from tests.peers.saml.lemonldap import LemonLDAP, lemonldap
from tests.peers.saml.pysaml2 import PySAML2, pysaml2
from tests.peers.saml.samlp import Samlp, samlp
from tests.peers.saml.simplesamlphp import SimpleSAMLphp, simplesamlphp
from tests.peers.saml.sp import ServiceProvider

PUBLIC_URL = "http://localhost:8000"


@pytest.fixture(scope="session")
def sp_keys() -> KeyPair:
    """The service provider's own key of this run."""
    return fresh_key_pair("service provider")


@pytest.fixture(scope="session")
def simplesamlphp_idp(real_part: None) -> Iterator[SimpleSAMLphp]:
    """SimpleSAMLphp: register an entity of your own, and change only what is yours."""
    with simplesamlphp() as running:
        yield running


@pytest.fixture(scope="session")
def samlp_idp(real_part: None) -> Iterator[Samlp]:
    """npm samlp: register an entity of your own."""
    with samlp() as running:
        yield running


@pytest.fixture(scope="session")
def pysaml2_idp(real_part: None) -> Iterator[PySAML2]:
    """pysaml2: register an entity of your own; what you bend, the next response has."""
    with pysaml2() as running:
        yield running


@pytest.fixture(scope="session")
def lemonldap_sp(sp_keys: KeyPair) -> ServiceProvider:
    """The one entity LemonLDAP::NG knows."""
    return ServiceProvider.of(PUBLIC_URL, sp_keys.bare_certificate)


@pytest.fixture(scope="session")
def lemonldap_idp(real_part: None, lemonldap_sp: ServiceProvider) -> Iterator[LemonLDAP]:
    """LemonLDAP::NG."""
    with lemonldap([lemonldap_sp]) as running:
        yield running
