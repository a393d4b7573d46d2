from __future__ import annotations

import string
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import Signer

from jit_middleware.keyring import Keyring, Signature

OLD, NEW, RETIRED = b"o" * 32, b"n" * 32, b"r" * 32
NOW = 1_800_000_000


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
    assert ring.envelope("a").open(ring.envelope("b").seal("abc", NOW), now=NOW) is None


def test_a_sealed_text_opens_until_it_is_too_old() -> None:
    envelope = Keyring([NEW, OLD]).envelope("login-state")
    sealed = Keyring([OLD]).envelope("login-state").seal("secret", NOW)
    assert envelope.open(sealed, now=NOW + 600, max_age=600) == "secret"
    assert envelope.open(sealed, now=NOW + 601, max_age=600) is None
    assert "secret" not in sealed


@given(st.text(), st.integers(0, 60))
def test_junk_and_tampered_texts_are_refused_without_an_error(junk: str, flip: int) -> None:
    ring = Keyring([NEW])
    signature, envelope = ring.signature("session"), ring.envelope("x")
    assert signature.unsign(junk) is None
    assert envelope.open(junk, now=NOW) is None
    signed = signature.sign("abcdef")
    at = flip % len(signed)
    changed = signed[:at] + ("A" if signed[at] != "A" else "B") + signed[at + 1 :]
    # The last character of a base64 text has spare bits; any other change must break it.
    assert at == len(signed) - 1 or signature.unsign(changed) is None
    assert not signature.tag_matches("abc", junk)
