"""The providers prove themselves here, with python3-saml as a service provider that is not ours."""

from tests.peers.saml.fixtures import (
    lemonldap_idp,
    lemonldap_sp,
    pysaml2_idp,
    samlp_idp,
    simplesamlphp_idp,
    sp_keys,
)

__all__ = ["lemonldap_idp", "lemonldap_sp", "pysaml2_idp", "samlp_idp", "simplesamlphp_idp", "sp_keys"]
