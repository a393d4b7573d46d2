"""What is pushed at us: every check by a token that fails this one alone, and no kind of token taken for another."""

from __future__ import annotations

import pytest

from jit_middleware.errors import JudgedLater, ProviderUnavailable, VerificationError
from jit_middleware.settings.saml import SAMLConnection
from jit_middleware.settings.signals import SignalsSettings
from jit_middleware.sso.oidc import SignalReceiver
from jit_middleware.sso.oidc.keys import KeysAt, ProviderKeys
from jit_middleware.sso.oidc.subjects import read_subject
from jit_middleware.sso.signals import (
    BACKCHANNEL_LOGOUT,
    CREDENTIAL_CHANGE,
    SESSION_REVOKED,
    VERIFICATION,
    AliasSubjects,
    EmailSubject,
    IdentitySubject,
    SessionSubject,
)
from tests.unit.sso.oidc.provider import (
    CLIENT,
    EC,
    ISSUER,
    LOGIN,
    NOW,
    OTHER_RSA,
    RSA,
    NoLocks,
    Provider,
    Story,
    answer,
    connection,
    public,
    sign,
    step,
)
from tests.unit.sso.oidc.provider import claims as login_claims

REVOKE_URL = "https://app.example/_jit/revoke/oidc"
SIGNALS_URL = "https://app.example/_jit/signals/oidc"
OWN_SIGNALS = SignalsSettings(issuer=ISSUER)
SUBJECT = {"format": "iss_sub", "iss": ISSUER, "sub": "subject-1"}
PHONE = {"format": "phone_number", "phone_number": "+1"}
ALIASES = {"format": "aliases", "identifiers": [SUBJECT, PHONE, {"format": "email", "email": "a@b.example"}, SUBJECT]}
TYPES = {"logout": "logout+jwt", "event": "secevent+jwt", "revocation": "global-token-revocation+jwt"}
KINDS = sorted(TYPES)


def claims(kind, **changes):
    every = {"iss": ISSUER, "iat": NOW, "jti": "jti-1"}
    match kind:
        case "logout":
            every |= {
                "aud": CLIENT,
                "exp": NOW + 120,
                "sub": "subject-1",
                "sid": "s-1",
                "events": {BACKCHANNEL_LOGOUT: {}},
            }
        case "event":
            every |= {"aud": SIGNALS_URL, "sub_id": SUBJECT, "events": {SESSION_REVOKED: {"event_timestamp": NOW}}}
        case _:
            every |= {"aud": REVOKE_URL, "exp": NOW + 300, "nbf": NOW - 300, "sub": CLIENT}
    return {name: value for name, value in (every | changes).items() if value is not ...}


def token(kind, key=RSA, header=None, alg=None, **changes):
    header = {"kid": key.kid, "typ": TYPES[kind]} | (header or {})
    return sign(claims(kind, **changes), key=key, header=header, alg=alg)


class Push:
    """The receiver of one connection."""

    def __init__(self, provider=None, signals=OWN_SIGNALS, saml=False, **settings):
        self.story = Story(provider, signals=signals, **settings)
        own = connection(signals=signals, **settings)
        if saml:
            own = SAMLConnection(name="saml", idp_metadata="<x/>", signals=signals)
        at = signals.jwks_uri
        keys = (
            None
            if at is None
            else ProviderKeys(KeysAt(at), self.story.provider, clock=self.story.clock, locks=NoLocks())
        )
        self.receiver = SignalReceiver(
            own,
            keys=None if saml else self.story.strategy.keys,
            metadata=None if saml else self.story.strategy.metadata,
            signal_keys=keys,
            revoke_url=REVOKE_URL,
            signals_url=SIGNALS_URL,
            clock=self.story.clock,
        )

    def take(self, kind, given):
        match kind:
            case "logout":
                return step(self.receiver.logout_token(given))
            case "event":
                return step(self.receiver.security_event(given))
            case _:
                return step(self.receiver.revocation(given))

    def refusal(self, kind, given):
        with pytest.raises(VerificationError) as caught:
            self.take(kind, given)
        return caught.value.reason

    def delay(self, kind, given):
        with pytest.raises(JudgedLater) as caught:
            self.take(kind, given)
        return caught.value.reason

    def verdict(self, kind, given):
        with pytest.raises((JudgedLater, VerificationError)) as caught:
            self.take(kind, given)
        return caught.value.reason


# --- what is taken --------------------------------------------------------------------------------------------------


def test_a_logout_token_says_which_session_of_whom():
    said = Push().take("logout", token("logout"))
    assert (said.issuer, said.subject, said.idp_session) == (ISSUER, "subject-1", "s-1")


def test_a_security_event_says_what_happened_to_whom():
    said = Push().take("event", token("event"))
    assert (said.event, said.subject) == (SESSION_REVOKED, IdentitySubject("subject-1", ISSUER))


def test_a_revocation_is_authenticated():
    receipt = Push().take("revocation", token("revocation"))
    assert receipt.once.until == NOW + 86_400


@pytest.mark.parametrize("kind", KINDS)
def test_the_type_is_compared_as_a_media_type(kind):
    """RFC 7515 §4.1.9: without regard to case, and ``application/`` may be left out."""
    for typ in (TYPES[kind].upper(), f"application/{TYPES[kind]}"):
        Push().take(kind, token(kind, header={"typ": typ}))


@pytest.mark.parametrize("typ", [..., "JWT", "application/jwt"])
def test_a_logout_token_of_an_older_provider_has_no_type_of_its_own(typ):
    assert Push().take("logout", token("logout", header={"typ": typ})).subject == "subject-1"


@pytest.mark.parametrize("kind", KINDS)
def test_the_audience_may_be_one_of_several(kind):
    aud = claims(kind)["aud"]
    Push().take(kind, token(kind, aud=["https://other.example", aud]))


@pytest.mark.parametrize("kind", KINDS)
def test_another_algorithm_of_the_list_is_taken(kind):
    Push().take(kind, token(kind, key=EC))


@pytest.mark.parametrize(("given", "kept"), [({"sub": ...}, (None, "s-1")), ({"sid": ...}, ("subject-1", None))])
def test_a_logout_token_may_name_a_person_or_a_session(given, kept):
    said = Push().take("logout", token("logout", **given))
    assert (said.subject, said.idp_session) == kept


def test_times_are_taken_with_the_skew_that_is_configured():
    push = Push(clock_skew=60)
    push.take("logout", token("logout", iat=NOW - 360))
    push.take("event", token("event", iat=NOW + 60))
    assert push.refusal("logout", token("logout", iat=NOW - 361)) == "token_too_old"
    assert push.refusal("event", token("event", iat=NOW + 61)) == "token_not_yet_valid"


@pytest.mark.parametrize("clock_skew", [0, 300])
def test_an_event_is_taken_for_as_long_as_it_may_be_retried_and_never_twice(clock_skew):
    """RFC 8935 §3: what could not be delivered comes again, with the time at which it was made."""
    push = Push(clock_skew=clock_skew)
    longest = 23 * 3600 + clock_skew
    push.take("event", token("event", iat=NOW - longest))
    assert push.refusal("event", token("event", iat=NOW - longest - 1)) == "token_too_old"
    first = NOW + clock_skew  # as early as it can come
    said = push.take("event", token("event", iat=first))
    assert said.receipt.once.until > first + longest, "known as used for longer than it would be taken"


def test_a_revocation_may_be_without_a_caller():
    Push().take("revocation", token("revocation", sub=...))


# --- what is refused, whatever the kind -----------------------------------------------------------------------------

SHARED = {
    "issuer-missing": ({"iss": ...}, "issuer_mismatch"),
    "issuer-with-a-slash": ({"iss": ISSUER + "/"}, "issuer_mismatch"),
    "issuer-in-a-list": ({"iss": [ISSUER]}, "issuer_mismatch"),
    "issuer-of-somebody-else": ({"iss": "https://evil.example"}, "issuer_mismatch"),
    "audience-missing": ({"aud": ...}, "audience_mismatch"),
    "audience-of-somebody-else": ({"aud": "client-2"}, "audience_mismatch"),
    "audience-empty": ({"aud": []}, "audience_mismatch"),
    "audience-no-text": ({"aud": [CLIENT, SIGNALS_URL, REVOKE_URL, 7]}, "audience_mismatch"),
    "jti-missing": ({"jti": ...}, "claim_missing"),
    "jti-empty": ({"jti": " "}, "claim_malformed"),
    "jti-number": ({"jti": 7}, "claim_malformed"),
    "jti-long": ({"jti": "x" * 1025}, "claim_malformed"),
    "iat-missing": ({"iat": ...}, "claim_missing"),
    "iat-text": ({"iat": str(NOW)}, "claim_malformed"),
    "iat-bool": ({"iat": True}, "claim_malformed"),
    "iat-old": ({"iat": NOW - 86_400}, "token_too_old"),
    "iat-ahead": ({"iat": NOW + 61}, "token_not_yet_valid"),
    "nbf-ahead": ({"nbf": NOW + 61}, "token_not_yet_valid"),
    "nonce": ({"nonce": "n"}, "claim_forbidden"),
}
HEADERS = {
    "crit": ({"crit": ["exp"]}, "critical_header"),
    "b64": ({"b64": False}, "critical_header"),
    "jwk": ({"jwk": public(RSA)}, "key_in_header"),
    "jku": ({"jku": f"{ISSUER}/jwks"}, "key_in_header"),
    "x5u": ({"x5u": f"{ISSUER}/x"}, "key_in_header"),
    "x5c": ({"x5c": ["x"]}, "key_in_header"),
    "kid-number": ({"kid": 7}, "token_malformed"),
    "kid-unknown": ({"kid": "unknown"}, "key_unknown"),
    "typ-access-token": ({"typ": "at+jwt"}, "token_type_confused"),
    "typ-number": ({"typ": 1}, "token_type_confused"),
    "typ-null": ({"typ": None}, "token_type_confused"),
    "typ-empty": ({"typ": ""}, "token_type_confused"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("changes", "reason"), SHARED.values(), ids=SHARED)
def test_claims_that_no_kind_may_have(kind, changes, reason):
    assert Push().refusal(kind, token(kind, **changes)) == reason


@pytest.mark.parametrize("kind", ["logout", "revocation"])
def test_what_expires_is_fresh(kind):
    assert Push().refusal(kind, token(kind, iat=NOW - 361, exp=NOW + 300)) == "token_too_old"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("header", "reason"), HEADERS.values(), ids=HEADERS)
def test_headers_that_no_kind_may_have(kind, header, reason):
    assert Push().refusal(kind, token(kind, header=header)) == reason


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_of_more_than_16_kib_is_refused_unread(kind):
    push = Push()
    assert push.refusal(kind, token(kind, padding="x" * 16_384)) == "token_too_large"
    assert push.story.provider.requests == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bent", ["", ".", "a.b", "a.b.c.d", "a.b.c", "é.b.c", "\udcff.b.c"])
def test_what_is_no_token_is_refused_by_name(kind, bent):
    assert Push().refusal(kind, bent) == "token_malformed"


@pytest.mark.parametrize("kind", KINDS)
def test_a_signature_by_another_key_of_that_name_is_refused(kind):
    assert Push().refusal(kind, token(kind, key=OTHER_RSA)) == "signature_invalid"


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_without_a_signature_is_refused(kind):
    head, _, rest = token(kind, header={"alg": "none"}, alg="RS256").partition(".")
    assert Push().refusal(kind, f"{head}.{rest.partition('.')[0]}.") == "algorithm_not_allowed"


@pytest.mark.parametrize("kind", KINDS)
def test_an_algorithm_outside_the_list_of_the_connection_is_refused(kind):
    assert Push(algorithms=("ES256",)).refusal(kind, token(kind)) == "algorithm_not_allowed"


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_payload_is_refused(kind):
    head, _, signature = token(kind).split(".")
    _, payload, _ = token(kind, jti="other").split(".")
    assert Push().refusal(kind, f"{head}.{payload}.{signature}") == "signature_invalid"


@pytest.mark.parametrize("kind", ["logout", "revocation"])
def test_a_token_that_has_to_expire_does(kind):
    assert Push().refusal(kind, token(kind, exp=...)) == "claim_missing"
    assert Push().refusal(kind, token(kind, exp=NOW - 60)) == "token_expired"
    Push().take(kind, token(kind, exp=NOW - 59))


def test_keys_that_cannot_be_fetched_are_no_verdict():
    provider = Provider(replies={"/jwks": ProviderUnavailable("unreachable")})
    with pytest.raises(ProviderUnavailable):
        Push(provider).take("event", token("event"))


# --- logout tokens --------------------------------------------------------------------------------------------------

LOGOUTS = {
    "no-events": ({"events": ...}, "event_mismatch"),
    "events-a-list": ({"events": [BACKCHANNEL_LOGOUT]}, "event_mismatch"),
    "events-empty": ({"events": {}}, "event_mismatch"),
    "another-event": ({"events": {SESSION_REVOKED: {}}}, "event_mismatch"),
    "event-no-object": ({"events": {BACKCHANNEL_LOGOUT: True}}, "event_mismatch"),
    "event-no-object-beside-one": ({"events": {BACKCHANNEL_LOGOUT: None, SESSION_REVOKED: {}}}, "event_mismatch"),
    "nobody": ({"sub": ..., "sid": ...}, "claim_missing"),
    "sub-empty": ({"sub": ""}, "subject_invalid"),
    "sub-null": ({"sub": None}, "subject_invalid"),
    "sid-list": ({"sid": ["s-1"]}, "claim_malformed"),
    "sid-empty": ({"sid": ""}, "claim_malformed"),
    "nonce-empty": ({"nonce": ""}, "claim_forbidden"),
    "nonce-null": ({"nonce": None}, "claim_forbidden"),
}


@pytest.mark.parametrize(("changes", "reason"), LOGOUTS.values(), ids=LOGOUTS)
def test_logout_tokens_that_are_none(changes, reason):
    """OIDC Back-Channel Logout §2.6."""
    assert Push().refusal("logout", token("logout", **changes)) == reason


@pytest.mark.parametrize("beside", [True, {}, None, "x"], ids=["keycloak", "object", "null", "text"])
def test_what_a_logout_token_says_beside_its_event_keeps_nobody_signed_in(beside):
    """Keycloak writes ``"revoke_offline_access": true`` there. §2.4 asks for the one member, and for an object there."""
    said = Push().take("logout", token("logout", events={"revoke_offline_access": beside, BACKCHANNEL_LOGOUT: {}}))
    assert (said.subject, said.idp_session) == ("subject-1", "s-1")


# --- security events ------------------------------------------------------------------------------------------------

EVENTS = {
    "exp": ({"exp": NOW + 300}, "claim_forbidden"),
    "sub": ({"sub": "subject-1"}, "claim_forbidden"),
    "no-events": ({"events": ...}, "event_mismatch"),
    "two-events": ({"events": {SESSION_REVOKED: {}, CREDENTIAL_CHANGE: {}}}, "event_mismatch"),
    "event-no-object": ({"events": {SESSION_REVOKED: None}}, "event_mismatch"),
    "second-event-no-object": ({"events": {SESSION_REVOKED: {}, CREDENTIAL_CHANGE: None}}, "event_mismatch"),
    "event-unprintable": ({"events": {"https://x.example/\n": {}}}, "event_mismatch"),
    "event-long": ({"events": {"https://x.example/" + "x" * 255: {}}}, "event_mismatch"),
    "subject-missing": ({"sub_id": ...}, "claim_malformed"),
    "subject-text": ({"sub_id": "subject-1"}, "claim_malformed"),
    "subject-phone": ({"sub_id": {"format": "phone_number", "phone_number": "+1"}}, "subject_identifier_unsupported"),
    "verification-state": ({"events": {VERIFICATION: {"state": 7}}}, "claim_malformed"),
}


@pytest.mark.parametrize(("changes", "reason"), EVENTS.values(), ids=EVENTS)
def test_security_events_that_are_none(changes, reason):
    """RFC 8417 §2.2, SSF 1.0 "Distinguishing SETs from other kinds of JWTs"."""
    assert Push().refusal("event", token("event", **changes)) == reason


def test_an_unknown_event_is_taken_whomever_it_is_about():
    said = Push().take(
        "event", token("event", events={"https://x.example/event": {"state": 7}}, sub_id={"format": "x"})
    )
    assert (said.event, said.subject, said.state) == ("https://x.example/event", None, None)


def test_a_verification_brings_its_state_back():
    said = Push().take(
        "event", token("event", events={VERIFICATION: {"state": "abc"}}, sub_id={"format": "opaque", "id": "stream"})
    )
    assert (said.event, said.state, said.subject) == (VERIFICATION, "abc", None)


def test_the_audience_of_events_is_what_the_settings_say():
    push = Push(signals=SignalsSettings(issuer=ISSUER, audience="receiver-1"))
    push.take("event", token("event", aud="receiver-1"))
    assert push.refusal("event", token("event")) == "audience_mismatch"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (SUBJECT, IdentitySubject("subject-1", ISSUER)),
        ({"format": "opaque", "id": "subject-1"}, IdentitySubject("subject-1")),
        ({"format": "email", "email": "a@b.example"}, EmailSubject("a@b.example")),
        ({"format": "complex", "user": SUBJECT, "tenant": {"format": "opaque", "id": "t"}}, IdentitySubject("subject-1", ISSUER)),
        ({"format": "complex", "user": SUBJECT, "session": {"format": "opaque", "id": "s"}}, IdentitySubject("subject-1", ISSUER)),
        ({"format": "aliases", "identifiers": [SUBJECT]}, IdentitySubject("subject-1", ISSUER)),
        (ALIASES, AliasSubjects(IdentitySubject("subject-1", ISSUER), (EmailSubject("a@b.example"),))),
        ({"format": "complex", "user": ALIASES}, AliasSubjects(IdentitySubject("subject-1", ISSUER), (EmailSubject("a@b.example"),))),
        ({"format": "complex", "session": {"format": "opaque", "id": "s-1"}}, SessionSubject("s-1")),
        ({"format": "complex", "session": {"format": "opaque", "id": "s-1"}, "device": {"format": "opaque", "id": "d"}}, SessionSubject("s-1")),
        ({"format": "complex", "session": {"format": "jwt_id", "iss": ISSUER, "jti": "j"}}, SessionSubject(None)),
    ],
)  # fmt: skip
def test_subject_identifiers_that_name_somebody(given, meant):
    """RFC 9493 §3.2, SSF 1.0 §3.1."""
    assert read_subject(given) == meant


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (None, "claim_malformed"),
        ([], "claim_malformed"),
        ({}, "claim_malformed"),
        ({"format": 1}, "claim_malformed"),
        ({"format": "iss_sub", "sub": "s"}, "claim_malformed"),
        ({"format": "iss_sub", "iss": ISSUER, "sub": ""}, "claim_malformed"),
        ({"format": "email", "email": ["a@b.example"]}, "claim_malformed"),
        ({"format": "opaque"}, "claim_malformed"),
        ({"format": "opaque", "id": "x" * 1025}, "claim_malformed"),
        ({"format": "account", "uri": "acct:a@b.example"}, "subject_identifier_unsupported"),
        ({"format": "aliases"}, "claim_malformed"),
        ({"format": "aliases", "identifiers": []}, "claim_malformed"),
        ({"format": "aliases", "identifiers": SUBJECT}, "claim_malformed"),
        ({"format": "aliases", "identifiers": [SUBJECT, "subject-1"]}, "claim_malformed"),
        ({"format": "aliases", "identifiers": [SUBJECT, {"sub": "s"}]}, "claim_malformed"),
        ({"format": "aliases", "identifiers": [SUBJECT, {"format": "email"}]}, "claim_malformed"),
        ({"format": "aliases", "identifiers": [SUBJECT, {"format": "aliases", "identifiers": [SUBJECT]}]}, "claim_malformed"),
        ({"format": "aliases", "identifiers": [PHONE]}, "subject_identifier_unsupported"),
        ({"format": "aliases", "identifiers": [{"format": "complex", "user": SUBJECT}]}, "subject_identifier_unsupported"),
        ({"format": "complex", "session": "s-1"}, "claim_malformed"),
        ({"format": "complex", "session": {"id": "s-1"}}, "claim_malformed"),
        ({"format": "complex", "session": {"format": "opaque", "id": ""}}, "claim_malformed"),
        ({"format": "complex", "session": {"format": "opaque"}}, "claim_malformed"),
        ({"format": "complex", "user": PHONE, "session": {"format": "opaque", "id": "s"}}, "subject_identifier_unsupported"),
        ({"format": "complex"}, "subject_identifier_unsupported"),
        ({"format": "complex", "device": {"format": "opaque", "id": "d"}}, "subject_identifier_unsupported"),
        ({"format": "complex", "user": {"format": "complex", "user": SUBJECT}}, "subject_identifier_unsupported"),
    ],
)  # fmt: skip
def test_subject_identifiers_that_name_nobody(given, reason):
    with pytest.raises(VerificationError) as caught:
        read_subject(given)
    assert caught.value.reason == reason


# --- revocations ----------------------------------------------------------------------------------------------------


def test_a_revocation_for_another_client_is_refused():
    assert Push().refusal("revocation", token("revocation", sub="client-2")) == "authorized_party_mismatch"


def test_a_revocation_for_another_address_is_refused():
    for aud in (CLIENT, SIGNALS_URL, REVOKE_URL + "/", "https://app.example"):
        assert Push().refusal("revocation", token("revocation", aud=aud)) == "audience_mismatch"


# --- one kind for another -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("taken_as", KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_is_taken_for_another(kind, taken_as):
    push, given = Push(), token(kind, aud=[CLIENT, SIGNALS_URL, REVOKE_URL])
    if kind == taken_as:
        push.take(taken_as, given)
    else:
        assert push.refusal(taken_as, given) == "token_type_confused"


@pytest.mark.parametrize("kind", KINDS)
def test_an_id_token_has_no_place_here(kind):
    """attack catalogue 32: signed by the same keys, for the same audience."""
    every = {"iss": ISSUER, "aud": [CLIENT, SIGNALS_URL, REVOKE_URL], "sub": "subject-1", "sid": "s-1", "iat": NOW,
             "exp": NOW + 300, "jti": "j"}  # fmt: skip
    for typ in ({"typ": "JWT"}, {}):
        for nonce, reason in ((LOGIN.nonce, "claim_forbidden"), (..., "event_mismatch")):
            given = sign(
                {name: value for name, value in (every | {"nonce": nonce}).items() if value is not ...},
                header={"kid": "rsa"} | typ,
            )
            assert Push().refusal(kind, given) == (reason if kind == "logout" else "token_type_confused")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_is_pushed_signs_anybody_in(kind):
    """attack catalogue 32: a logout token with the right nonce was taken for an ID token."""
    everything = {"aud": CLIENT, "sub": "subject-1", "nonce": LOGIN.nonce, "exp": NOW + 300}
    story = Story()
    with pytest.raises(VerificationError) as caught:
        story.finish(token(kind, **everything))
    assert caught.value.reason == "token_type_confused"
    # Without the type, the events alone give it away.
    untyped = sign(claims("logout", **everything), header={"kid": "rsa"})
    with pytest.raises(VerificationError) as caught:
        story.finish(untyped)
    assert caught.value.reason == "token_type_confused"
    assert caught.value.detail == "events"


# --- who may send what ----------------------------------------------------------------------------------------------

TRANSMITTER = "https://signals.example"


def test_without_a_transmitter_there_are_no_events():
    push = Push(signals=SignalsSettings())
    assert not push.receiver.takes_events
    assert push.receiver.takes_revocations
    assert push.refusal("event", token("event")) == "key_unknown"
    push.take("revocation", token("revocation"))


def test_a_transmitter_of_its_own_is_believed_with_its_own_keys_alone():
    provider = Provider(replies={"/events/jwks": answer({"keys": [public(EC)]})}, keys=[public(RSA)])
    push = Push(provider, signals=SignalsSettings(issuer=TRANSMITTER, jwks_uri=f"{ISSUER}/events/jwks"))
    for kind in ("event", "revocation"):
        push.take(kind, token(kind, key=EC, iss=TRANSMITTER))
        assert push.refusal(kind, token(kind, key=RSA, iss=TRANSMITTER)) == "key_unknown"
        assert push.refusal(kind, token(kind, key=EC)) == "issuer_mismatch"
        push.story.clock.pass_(30)
    push.take("logout", token("logout"))
    assert push.refusal("logout", token("logout", key=EC)) == "key_unknown"


def test_a_saml_connection_takes_events_and_revocations_of_its_transmitter():
    provider = Provider(replies={"/events/jwks": answer({"keys": [public(EC)]})})
    signals = SignalsSettings(issuer=TRANSMITTER, jwks_uri=f"{ISSUER}/events/jwks")
    push = Push(provider, signals=signals, saml=True)
    assert push.receiver.issuer is None
    push.take("event", token("event", key=EC, iss=TRANSMITTER))
    push.take("revocation", token("revocation", key=EC, iss=TRANSMITTER, sub="anybody"))
    assert push.refusal("logout", token("logout")) == "key_unknown"


def test_a_saml_connection_without_a_transmitter_takes_nothing():
    push = Push(signals=SignalsSettings(), saml=True)
    assert not push.receiver.takes_events
    assert not push.receiver.takes_revocations
    for kind in KINDS:
        assert push.refusal(kind, token(kind)) == "key_unknown"
    assert step(push.receiver.framing_urls()) == ()


def test_the_providers_own_pages_may_frame_us():
    assert step(Push().receiver.framing_urls()) == (ISSUER, f"{ISSUER}/logout")
    down = Provider(replies={"/.well-known/openid-configuration": ProviderUnavailable("unreachable")})
    assert step(Push(down).receiver.framing_urls()) == (ISSUER,)


def test_one_use_is_told_apart_by_connection_issuer_and_id():
    same = Push().take("event", token("event")).receipt
    assert Push().take("logout", token("logout")).receipt == same, "an id is used once, whatever the kind"
    assert Push().take("event", token("event", jti="jti-2")).receipt.once.key != same.once.key
    assert Push(name="second").take("event", token("event")).receipt.once.key != same.once.key
    assert "jti-1" not in same.digest
    provider = Provider(replies={"/events/jwks": answer({"keys": [public(EC)]})})
    other = Push(provider, signals=SignalsSettings(issuer=TRANSMITTER, jwks_uri=f"{ISSUER}/events/jwks"))
    theirs = other.take("event", token("event", key=EC, iss=TRANSMITTER)).receipt
    assert theirs.once.key != same.once.key, "one sender cannot use up the ids of another"


# --- keys that are not known ----------------------------------------------------------------------------------------


def rotated(push):
    """The provider changes its only key, and the next thing it signs is the first sight of the new one."""
    push.story.provider.keys = [public(OTHER_RSA, kid="new")]


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_key_is_fetched_although_garbage_came_just_before(kind):
    push = Push()
    push.take(kind, token(kind))
    assert push.refusal(kind, token(kind, header={"kid": "garbage"})) == "key_unknown"
    for _ in range(20):
        assert push.delay(kind, token(kind, header={"kid": "garbage"})) == "keys_not_asked_for"
    rotated(push)
    push.take(kind, token(kind, key=OTHER_RSA, header={"kid": "new"}, jti="jti-2"))


@pytest.mark.parametrize("kind", KINDS)
def test_garbage_makes_us_ask_a_few_times_and_then_once_in_fifteen_seconds(kind):
    """What is signed with a new key meanwhile is not refused, which its sender may take for the last word."""
    push = Push()
    push.take(kind, token(kind))
    answers = [push.verdict(kind, token(kind, header={"kid": f"garbage-{n}"})) for n in range(30)]
    assert answers == ["key_unknown"] * 5 + ["keys_not_asked_for"] * 25
    assert push.story.provider.asked("/jwks") == 1 + 5
    new = token(kind, key=OTHER_RSA, header={"kid": "new"}, jti="jti-2")
    rotated(push)
    assert push.delay(kind, new) == "keys_not_asked_for"
    push.story.clock.pass_(14)
    assert push.delay(kind, new) == "keys_not_asked_for"
    assert push.story.provider.asked("/jwks") == 1 + 5, "no such token makes us ask"
    push.story.clock.pass_(1)
    push.take(kind, new)
    assert push.story.provider.asked("/jwks") == 1 + 5 + 1


def test_a_name_that_the_keys_lacked_a_moment_ago_is_no_verdict_on_the_next_token_with_it():
    """Whoever guesses the name of the next key must not have what is signed with it refused for good."""
    push = Push()
    push.take("logout", token("logout"))
    assert push.refusal("logout", token("logout", header={"kid": "new"})) == "key_unknown"
    rotated(push)
    new = token("logout", key=OTHER_RSA, header={"kid": "new"}, jti="jti-2")
    assert push.delay("logout", new) == "keys_not_asked_for"
    push.story.clock.pass_(30)
    assert push.take("logout", new).subject == "subject-1"


def test_a_token_that_names_no_key_is_put_off_as_well():
    push = Push()
    push.take("logout", token("logout"))
    nameless = {"kid": ...}
    answers = [push.verdict("logout", token("logout", key=OTHER_RSA, header=nameless)) for _ in range(7)]
    assert answers == ["signature_invalid"] * 5 + ["keys_not_asked_for"] * 2


def test_a_bad_signature_under_a_name_that_we_know_stays_a_verdict():
    push = Push()
    push.take("logout", token("logout"))
    for n in range(30):
        push.verdict("logout", token("logout", header={"kid": f"garbage-{n}"}))
    assert push.refusal("logout", token("logout", key=OTHER_RSA, header={"kid": RSA.kid})) == "signature_invalid"


def test_a_login_has_its_verdict_however_often_the_keys_were_asked_for():
    """What a login brings comes from the provider itself: nobody else can use up what it may ask."""
    story = Story()
    story.login()
    given = [sign(login_claims(), key=OTHER_RSA, header={"kid": f"unknown-{n}"}) for n in range(7)]
    reasons = []
    for each in given:
        with pytest.raises(VerificationError) as caught:
            story.finish(each)
        reasons.append(caught.value.reason)
    assert reasons == ["key_unknown"] * 7
    assert story.provider.asked("/jwks") == 1 + 5


def test_garbage_that_is_pushed_keeps_no_new_key_from_a_login():
    push = Push()
    push.story.login()
    for n in range(30):
        push.verdict("logout", token("logout", header={"kid": f"garbage-{n}"}))
    rotated(push)
    answered = sign(login_claims(), key=OTHER_RSA, header={"kid": "new"})
    assert push.story.finish(answered).subject == "subject-1"
    # What the login has brought serves the pushed tokens too.
    assert push.take("logout", token("logout", key=OTHER_RSA, header={"kid": "new"})).subject == "subject-1"
