"""Real SAML identity providers: SimpleSAMLphp, npm samlp, pysaml2 and LemonLDAP::NG, each on 127.0.0.1."""
