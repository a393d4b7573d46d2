"""SAML: one Response verified by us, everything included, beside python3-saml's own time for the same message.

Ours is guard, own verifier, exact checks and python3-saml with libxmlsec as the second opinion. Theirs is what an
application that uses python3-saml does per login, in its favour: the settings object is built once and kept.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import urlsplit

import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from lxml import etree
from onelogin.saml2.auth import OneLogin_Saml2_Auth
from onelogin.saml2.settings import OneLogin_Saml2_Settings

from benchmarks.measure import Contestant, interleaved
from benchmarks.table import Part, Row
from jit_middleware.sso.saml.response import Expectations, ResponseVerifier, SPKey
from jit_middleware.sso.saml.signature import sign_enveloped

IDP, SP, ACS = "https://idp.example/metadata", "https://app.example/saml", "https://app.example/sso/acs/corp"
REQUEST = "_5f1d0c7e"
_BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
_BUDGETS = {"assertion signed": 0.5, "Response signed": 0.5, "both signed": 0.5, "encrypted": 0.3}


@dataclass(frozen=True, slots=True)
class _Stage:
    """Keys of both sides, and the moment all of it happens."""

    idp: SPKey
    sp: SPKey
    now: datetime

    def assertion(self) -> bytes:
        moment, end = _written(self.now), _written(self.now + timedelta(minutes=5))
        groups = "".join(f"<AttributeValue>group-{number}</AttributeValue>" for number in range(10))
        return f"""<Assertion xmlns="urn:oasis:names:tc:SAML:2.0:assertion" ID="_a1" Version="2.0"
 IssueInstant="{moment}">
<Issuer>{IDP}</Issuer><Subject><NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">alice</NameID>
<SubjectConfirmation Method="{_BEARER}"><SubjectConfirmationData NotOnOrAfter="{end}" Recipient="{ACS}"
 InResponseTo="{REQUEST}"/></SubjectConfirmation></Subject><Conditions NotBefore="{moment}" NotOnOrAfter="{end}">
<AudienceRestriction><Audience>{SP}</Audience></AudienceRestriction></Conditions><AuthnStatement AuthnInstant="{moment}"
 SessionIndex="_s1"><AuthnContext><AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password
</AuthnContextClassRef></AuthnContext></AuthnStatement><AttributeStatement><Attribute Name="mail">
<AttributeValue>alice@corp.example</AttributeValue></Attribute><Attribute Name="groups">{groups}</Attribute>
</AttributeStatement></Assertion>""".encode()

    def response(self, inside: bytes) -> bytes:
        head = f"""<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="_r1" Version="2.0"
 IssueInstant="{_written(self.now)}" Destination="{ACS}" InResponseTo="{REQUEST}"><Issuer
 xmlns="urn:oasis:names:tc:SAML:2.0:assertion">{IDP}</Issuer><samlp:Status><samlp:StatusCode
 Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>""".encode()
        return head + inside + b"</samlp:Response>"

    def messages(self) -> dict[str, bytes]:
        plain = self.assertion()
        signed = sign_enveloped(plain, self.idp)
        return {
            "assertion signed": self.response(signed),
            "Response signed": sign_enveloped(self.response(plain), self.idp),
            "both signed": sign_enveloped(self.response(signed), self.idp),
            "encrypted": _encrypted(self.response(signed), self.sp),
        }


def run(*, quick: bool = False) -> list[Part]:
    """Each message by both, interleaved; CPU time of this process."""
    stage = _Stage(_key("idp"), _key("sp"), datetime.now(UTC))
    verifier, settings = ResponseVerifier(), _settings(stage)
    expected = Expectations(
        IDP, (stage.idp.certificate_pem,), SP, ACS, REQUEST, int(stage.now.timestamp()), decryption_keys=(stage.sp,)
    )
    calls, rounds = (10, 5) if quick else (40, 15)
    rows: list[Row] = []
    for name, xml in stage.messages().items():
        form = b64encode(xml).decode()
        times = interleaved(
            {
                "ours": Contestant(_repeated(partial(verifier.verify, form, expected), calls), calls),
                "theirs": Contestant(_repeated(partial(_theirs, form, settings), calls), calls),
            },
            rounds=rounds,
        )
        ours, theirs = times.of("ours") / 1e6, times.of("theirs") / 1e6
        rows.append(Row(f"{name}: python3-saml", theirs, "ms"))
        rows.append(Row(f"{name}: ours", ours, "ms", ours / theirs, "x python3-saml", at_most=_BUDGETS[name]))
    return [Part("SAML: one Response verified", rows, ["Both verifiers, every check; theirs with settings kept."])]


def main() -> int:
    """Print the table; exit 1 when a figure is over its budget."""
    parts = run()
    print("\n".join(part.text() for part in parts))
    return int(any(row.verdict == "OVER" for part in parts for row in part.rows))


def _repeated(work: Callable[[], object], calls: int) -> Callable[[], None]:
    def repeat() -> None:
        for _ in range(calls):
            work()

    return repeat


def _theirs(form: str, settings: OneLogin_Saml2_Settings) -> None:
    url = urlsplit(ACS)
    request = {"https": "on", "http_host": url.netloc, "script_name": url.path, "get_data": {}}
    auth = OneLogin_Saml2_Auth({**request, "post_data": {"SAMLResponse": form}}, old_settings=settings)
    auth.process_response(request_id=REQUEST)
    if not auth.is_authenticated() or auth.get_nameid() != "alice":
        raise AssertionError(auth.get_last_error_reason())


def _settings(stage: _Stage) -> OneLogin_Saml2_Settings:
    return OneLogin_Saml2_Settings(
        {
            "strict": True,
            "sp": {
                "entityId": SP,
                "assertionConsumerService": {"url": ACS},
                "x509cert": stage.sp.certificate_pem,
                "privateKey": stage.sp.private_key_pem,
            },
            "idp": {
                "entityId": IDP,
                "singleSignOnService": {"url": "https://idp.example/sso"},
                "x509cert": stage.idp.certificate_pem,
            },
            "security": {"rejectDeprecatedAlgorithm": True, "requestedAuthnContext": False},
        }
    )


def _key(name: str) -> SPKey:
    key = rsa.generate_private_key(65537, 2048)
    subject, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return SPKey(private, certificate.public_bytes(Encoding.PEM).decode())


def _encrypted(xml: bytes, key: SPKey) -> bytes:
    """AES-256-GCM with RSA-OAEP, made by libxmlsec."""
    root = etree.fromstring(xml)
    plain = root[-1]
    template = xmlsec.template.encrypted_data_create(
        root, xmlsec.constants.TransformAes256Gcm, type=xmlsec.constants.TypeEncElement, ns="xenc"
    )
    xmlsec.template.encrypted_data_ensure_cipher_value(template)
    info = xmlsec.template.encrypted_data_ensure_key_info(template, ns="ds")
    wrapped = xmlsec.template.add_encrypted_key(info, xmlsec.constants.TransformRsaOaep)
    xmlsec.template.encrypted_data_ensure_cipher_value(wrapped)
    manager = xmlsec.KeysManager()
    manager.add_key(xmlsec.Key.from_memory(key.certificate_pem, xmlsec.constants.KeyDataFormatCertPem))
    context = xmlsec.EncryptionContext(manager)
    context.key = xmlsec.Key.generate(xmlsec.constants.KeyDataAes, 256, xmlsec.constants.KeyDataTypeSession)
    data = context.encrypt_xml(template, plain)
    holder = etree.SubElement(root, "{urn:oasis:names:tc:SAML:2.0:assertion}EncryptedAssertion")
    holder.append(data)
    return etree.tostring(root)


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


if __name__ == "__main__":
    raise SystemExit(main())
