from __future__ import annotations

import string
from base64 import urlsafe_b64decode
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import Signer

from jit_middleware.http.cookies import CookieSpec
from jit_middleware.keyring import Keyring, Signature
from jit_middleware.system import SystemTokens

OLD, NEW, RETIRED = b"o" * 32, b"n" * 32, b"r" * 32
NOW = 1_800_000_000
TOKENS = SystemTokens()


@pytest.mark.parametrize("purpose", ["session", "login-state", ""])
@pytest.mark.parametrize("secret", [OLD, b"\x00" * 32, bytes(range(64)), b"k" * 65])
def test_keys_are_derived_by_hkdf_sha_256_without_a_salt(secret: bytes, purpose: str) -> None:
    info = b"jit_middleware/" + purpose.encode()
    expected = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret)
    assert Keyring([NEW, secret]).derive(purpose)[1] == expected


@pytest.mark.parametrize("text", ["", "abc", "1:x:ff", "a.b.c", "é"])
def test_a_signature_is_written_as_itsdangerous_writes_it(text: str) -> None:
    keys = Keyring([NEW, OLD]).derive("session")
    theirs = Signer(list(reversed(keys)), key_derivation="none", digest_method=sha256)
    ours = Signature(keys)
    assert ours.sign(text) == theirs.sign(text).decode()
    assert ours.tag(text) == theirs.get_signature(text).decode()


def test_a_signature_has_one_spelling() -> None:
    """base64 alone has four for each: the last character of 43 has two bits to spare."""
    signature = Keyring([NEW]).signature("session")
    signed = signature.sign("abc")
    alphabet = string.ascii_letters + string.digits + "-_"
    assert [last for last in alphabet if signature.unsign(signed[:-1] + last) is not None] == [signed[-1]]
    assert signature.unsign(signed + "=") is None


def test_a_rotated_secret_still_verifies_and_no_longer_signs() -> None:
    signed_before = Keyring([OLD]).signature("session").sign("abc")
    rotated = Keyring([NEW, OLD]).signature("session")
    assert rotated.unsign(signed_before) == "abc"
    assert Keyring([OLD]).signature("session").unsign(rotated.sign("abc")) is None


def test_a_retired_secret_is_refused_at_once() -> None:
    assert Keyring([NEW]).signature("session").unsign(Keyring([RETIRED]).signature("session").sign("abc")) is None


def test_a_value_signed_for_one_purpose_means_nothing_for_another() -> None:
    ring = Keyring([NEW])
    assert ring.signature("logout").unsign(ring.signature("session").sign("abc")) is None
    assert ring.envelope("a", TOKENS).open(ring.envelope("b", TOKENS).seal("abc", NOW), now=NOW) is None


def test_a_sealed_text_opens_until_it_is_too_old() -> None:
    envelope = Keyring([NEW, OLD]).envelope("login-state", TOKENS)
    sealed = Keyring([OLD]).envelope("login-state", TOKENS).seal("secret", NOW)
    assert envelope.open(sealed, now=NOW + 600, max_age=600) == "secret"
    assert envelope.open(sealed, now=NOW + 601, max_age=600) is None
    assert envelope.open(sealed, now=NOW + 10**9) == "secret"
    assert "secret" not in sealed


def test_a_text_sealed_by_a_clock_that_is_ahead_opens_when_it_is_a_minute_at_most() -> None:
    envelope = Keyring([NEW]).envelope("login-state", TOKENS)
    sealed = envelope.seal("secret", NOW)
    assert envelope.open(sealed, now=NOW - 60, max_age=600) == "secret"
    assert envelope.open(sealed, now=NOW - 61, max_age=600) is None


def test_the_newest_secret_seals_and_a_retired_one_opens_nothing() -> None:
    sealed = Keyring([NEW, OLD]).envelope("x", TOKENS).seal("secret", NOW)
    assert Keyring([NEW]).envelope("x", TOKENS).open(sealed, now=NOW) == "secret"
    assert Keyring([OLD, RETIRED]).envelope("x", TOKENS).open(sealed, now=NOW) is None


@pytest.mark.parametrize("text", ["", "secret", "é\N{GRINNING FACE}", "x" * 5_000])
def test_a_text_is_sealed_by_aes_256_gcm_under_a_key_of_its_own(text: str) -> None:
    """Opened here by the library's own HKDF-Expand, without a line of ours."""
    ring = Keyring([NEW])
    salt, _, rest = ring.envelope("x", TOKENS).seal(text, NOW).partition(".")
    key = HKDFExpand(algorithm=SHA256(), length=32, info=salt.encode()).derive(ring.derive("x")[0])
    opened = AESGCM(key).decrypt(bytes(12), urlsafe_b64decode(rest + "=" * (-len(rest) % 4)), None)
    assert opened == NOW.to_bytes(8, "big") + text.encode()


def test_no_two_texts_are_sealed_alike() -> None:
    envelope = Keyring([NEW]).envelope("x", TOKENS)
    sealed = [envelope.seal("the same", NOW) for _ in range(100)]
    assert len({one.partition(".")[0] for one in sealed}) == len({one.partition(".")[2] for one in sealed}) == 100


def test_a_sealed_text_fits_into_a_cookie_and_does_not_survive_a_change_of_any_character() -> None:
    envelope = Keyring([NEW, OLD]).envelope("x", TOKENS)
    sealed = envelope.seal("secret!", NOW)
    CookieSpec("jit", secure=False).set(sealed)
    for at in range(len(sealed)):
        for other in "ABCDP-._ =é\N{KELVIN SIGN}".replace(sealed[at], ""):
            assert envelope.open(sealed[:at] + other + sealed[at + 1 :], now=NOW) is None
        assert envelope.open(sealed[:at], now=NOW) is None
        assert envelope.open(sealed[:at] + sealed[at + 1 :], now=NOW) is None
    for longer in (sealed + "A", "A" + sealed, sealed + "=", sealed + ".", " " + sealed, sealed + sealed):
        assert envelope.open(longer, now=NOW) is None


@given(st.text(), st.integers(0, 60))
def test_junk_and_tampered_texts_are_refused_without_an_error(junk: str, flip: int) -> None:
    ring = Keyring([NEW])
    signature, envelope = ring.signature("session"), ring.envelope("x", TOKENS)
    assert signature.unsign(junk) is None
    assert envelope.open(junk, now=NOW) is None
    signed = signature.sign("abcdef")
    at = flip % len(signed)
    changed = signed[:at] + ("A" if signed[at] != "A" else "B") + signed[at + 1 :]
    # The last character of a base64 text has spare bits; any other change must break it.
    assert at == len(signed) - 1 or signature.unsign(changed) is None
    assert not signature.tag_matches("abc", junk)
