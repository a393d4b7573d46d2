"""Opening what an identity provider encrypted for us (XML Encryption 1.1): one key, one value, both inline.

By cryptography alone: nothing is fetched, no reference followed, and what fails to open says no more than that.
"""

from __future__ import annotations

from typing import Final
from xml.sax.saxutils import quoteattr

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from jit_middleware.errors import VerificationError
from jit_middleware.sso.saml.keys import DIGESTS, SPKey, private_key
from jit_middleware.sso.saml.names import DSIG, XENC, XENC11, dsig, xenc
from jit_middleware.sso.saml.reasons import Reason
from jit_middleware.sso.saml.tree import Element, element_base64, local_name, read_xml

_ELEMENT: Final = f"{XENC}Element"
_KEY_BYTES: Final = {
    f"{XENC11}aes128-gcm": 16,
    f"{XENC11}aes192-gcm": 24,
    f"{XENC11}aes256-gcm": 32,
    f"{XENC}aes128-cbc": 16,
    f"{XENC}aes192-cbc": 24,
    f"{XENC}aes256-cbc": 32,
}
_OAEP: Final = frozenset({f"{XENC}rsa-oaep-mgf1p", f"{XENC11}rsa-oaep"})
# Inside OAEP the hash is no signature: SHA-1, its default, is as good as any (RFC 8017 §7.1).
_OAEP_DIGESTS: Final = {f"{DSIG}sha1": hashes.SHA1(), **DIGESTS}  # noqa: S303
_MASKS: Final = {
    f"{XENC11}mgf1sha1": hashes.SHA1(),  # noqa: S303
    f"{XENC11}mgf1sha256": hashes.SHA256(),
    f"{XENC11}mgf1sha384": hashes.SHA384(),
    f"{XENC11}mgf1sha512": hashes.SHA512(),
}


def open_encrypted(encrypted: Element, keys: tuple[SPKey, ...], *, signed_outside: bool) -> Element:
    """The element inside an ``EncryptedAssertion`` or ``EncryptedID``, in a document of its own.

    CBC is opened only where a verified signature covers the cipher text (``signed_outside``): it does not notice
    changes, and telling good padding from bad gives the text away. Raises ``VerificationError``.
    """
    if not keys:
        raise VerificationError(Reason.ENCRYPTION_NOT_EXPECTED)
    data = _only(encrypted, xenc("EncryptedData"))
    if data.get("Type", _ELEMENT) != _ELEMENT:
        raise VerificationError(Reason.ENCRYPTION_SHAPE, "Type")
    method, info, cipher = _parts(data)
    algorithm = method.get("Algorithm", "")
    if len(method) or algorithm not in _KEY_BYTES:
        raise VerificationError(Reason.ENCRYPTION_ALGORITHM)
    if algorithm.endswith("-cbc") and not signed_outside:
        raise VerificationError(Reason.ENCRYPTION_ALGORITHM, "CBC in an unsigned message")
    wrapped = _only(info, xenc("EncryptedKey"))
    key_method, _, key_cipher = _parts(wrapped)
    scheme = _oaep(key_method)
    content_key = _unwrap(_value(key_cipher), scheme, keys, _KEY_BYTES[algorithm])
    return _in_context(_opened(algorithm, content_key, _value(cipher)), encrypted)


def _parts(holder: Element) -> tuple[Element, Element, Element]:
    children = list(holder)
    tags = [child.tag for child in children]
    names = [xenc("EncryptionMethod"), dsig("KeyInfo"), xenc("CipherData")]
    if tags == names:
        return children[0], children[1], children[2]
    if holder.tag == xenc("EncryptedKey") and tags == [names[0], names[2]]:
        return children[0], children[0], children[1]
    raise VerificationError(Reason.ENCRYPTION_SHAPE, local_name(holder))


def _only(parent: Element, tag: str) -> Element:
    """The one child of this kind, beside hints that say whose key it is."""
    found = list(parent.iterchildren(tag))
    if len(found) != 1:
        raise VerificationError(Reason.ENCRYPTION_SHAPE, local_name(parent))
    return found[0]


def _value(cipher: Element) -> bytes:
    return element_base64(_only(cipher, xenc("CipherValue")))


def _oaep(method: Element) -> padding.OAEP:
    """RSA-OAEP with the digest and mask it names (XML Encryption 1.1 §5.5.2); RSA 1.5 is an oracle, and refused."""
    name = method.get("Algorithm", "")
    digest_name, mask_name = f"{DSIG}sha1", f"{XENC11}mgf1sha1"
    seen: set[object] = set()
    for child in method:
        if child.tag == dsig("DigestMethod"):
            digest_name = child.get("Algorithm", "")
        elif name == f"{XENC11}rsa-oaep":
            mask_name = child.get("Algorithm", "")
        else:
            raise VerificationError(Reason.ENCRYPTION_ALGORITHM, "MGF")
        if child.tag in seen:
            raise VerificationError(Reason.ENCRYPTION_SHAPE, "EncryptionMethod")
        seen.add(child.tag)
    if name not in _OAEP or digest_name not in _OAEP_DIGESTS or mask_name not in _MASKS:
        raise VerificationError(Reason.ENCRYPTION_ALGORITHM, "key")
    return padding.OAEP(padding.MGF1(_MASKS[mask_name]), _OAEP_DIGESTS[digest_name], None)


def _unwrap(wrapped: bytes, scheme: padding.OAEP, keys: tuple[SPKey, ...], length: int) -> bytes:
    """The content key, opened by the first of our keys that can; the next one may already be in use (roll-over)."""
    for key in keys:
        private = private_key(key)
        if not isinstance(private, rsa.RSAPrivateKey):
            continue
        try:
            content_key = private.decrypt(wrapped, scheme)
        except ValueError:
            continue
        if len(content_key) == length:
            return content_key
    raise VerificationError(Reason.DECRYPTION_FAILED)


def _opened(algorithm: str, key: bytes, data: bytes) -> bytes:
    if algorithm.endswith("-gcm"):
        try:
            return AESGCM(key).decrypt(data[:12], data[12:], None)
        except (InvalidTag, ValueError):
            raise VerificationError(Reason.DECRYPTION_FAILED) from None
    vector, body = data[:16], data[16:]
    if len(vector) != 16 or not body or len(body) % 16:
        raise VerificationError(Reason.DECRYPTION_FAILED)
    decryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).decryptor()
    padded = decryptor.update(body) + decryptor.finalize()
    # XML Encryption 1.1 §5.2.1: only the last byte of the padding says something.
    if not 1 <= padded[-1] <= 16:
        raise VerificationError(Reason.DECRYPTION_FAILED)
    return padded[: -padded[-1]]


def _in_context(plain: bytes, encrypted: Element) -> Element:
    """Read the plain text where the cipher text stood: it may use prefixes declared around it (XML Encryption 1.1
    §4.4). Judged by the same rules as a message from outside."""
    declared = " ".join(
        f"xmlns{f':{prefix}' if prefix else ''}={quoteattr(uri)}" for prefix, uri in encrypted.nsmap.items()
    )
    try:
        wrapper = read_xml(f"<opened {declared}>".encode() + plain + b"</opened>")
    except VerificationError:
        raise VerificationError(Reason.DECRYPTION_FAILED, "not XML") from None
    if len(wrapper) != 1 or (wrapper.text or "").strip() or (wrapper[0].tail or "").strip():
        raise VerificationError(Reason.DECRYPTION_FAILED, "not one element")
    return wrapper[0]
