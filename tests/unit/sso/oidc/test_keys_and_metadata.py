"""Discovery and keys: whose document it is, which keys count, and how often the provider is asked."""

from __future__ import annotations

import asyncio

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey

from jit_middleware.errors import ProviderUnavailable, VerificationError
from jit_middleware.sso.oidc.kept import Kept
from jit_middleware.sso.oidc.keys import read_key, read_keys
from tests.unit.sso.oidc.naming import named
from tests.unit.sso.oidc.provider import (
    EC,
    ED,
    ISSUER,
    LOGIN,
    NOW,
    OTHER_RSA,
    RSA,
    FakeClock,
    NoLocks,
    Provider,
    Story,
    answer,
    b64,
    claims,
    metadata,
    public,
    sign,
    step,
)

DOWN = ProviderUnavailable("unreachable", "op.example")
DISCOVERY = "/.well-known/openid-configuration"


@pytest.mark.parametrize(
    "issuer", [..., None, "", ISSUER + "/", ISSUER + "/other", "https://evil.example", "HTTPS://op.example", [ISSUER]]
)
def test_document_of_another_issuer_is_refused_before_the_browser_is_sent(issuer):
    story = Story(Provider(document=metadata(issuer=issuer)))
    with pytest.raises(VerificationError, match="metadata_issuer_mismatch"):
        story.begin()


@pytest.mark.parametrize(
    "name", ["authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "end_session_endpoint"]
)
@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)//https://op.example", "http://op.example/x", "http://127.0.0.1/x", "https://user@op.example/", "https:///x", "//op.example/x",
     "https://op.example:0/", "https://op.example:99999/", "https://op.example/x#f", "https://op.example/a b", "https://op.example\\@evil.example/",
     "https://op.example/\r\nSet-Cookie: a=b", "data:text/html,x", "https://[::1", "https://öp.example/", "/auth", ""],
)  # fmt: skip
def test_endpoint_that_is_no_plain_https_url_is_refused(name, url):
    with pytest.raises(VerificationError, match="metadata_endpoint_forbidden"):
        Story(Provider(document=metadata(**{name: url}))).begin()


def test_issuer_on_this_machine_may_have_http_endpoints_here_and_only_here():
    here = "http://127.0.0.1:9400"
    urls = dict.fromkeys(
        ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "end_session_endpoint"),
        here + "/x",
    )
    assert Story(Provider(document=metadata(issuer=here, **urls)), issuer=here).begin().startswith(here)
    with pytest.raises(VerificationError, match="metadata_endpoint_forbidden"):
        Story(
            Provider(document=metadata(issuer=here, **urls | {"token_endpoint": "http://op.example/"})), issuer=here
        ).begin()


@pytest.mark.parametrize(
    "changes",
    [{"authorization_endpoint": ...}, {"token_endpoint": 5}, {"jwks_uri": ...}, {"jwks_uri": []}, {"token_endpoint_auth_methods_supported": "basic"},
     {"require_pushed_authorization_requests": "yes"}, {"authorization_response_iss_parameter_supported": 1}],
    ids=named,
)  # fmt: skip
def test_malformed_document_is_refused(changes):
    with pytest.raises(VerificationError, match="metadata_malformed"):
        Story(Provider(document=metadata(**changes))).begin()


@pytest.mark.parametrize(
    ("reply", "reason"),
    [(answer({}, 404), "metadata_unavailable"), (answer({}, 503), "metadata_unavailable"), (answer(b"<html>"), "metadata_not_json"),
     (answer(b'{"issuer":"https://op.example","issuer":"x"}'), "metadata_not_json"), (DOWN, "unreachable")],
    ids=named,
)  # fmt: skip
def test_missing_document_is_unavailability(reply, reason):
    with pytest.raises(ProviderUnavailable) as caught:
        Story(Provider(replies={DISCOVERY: reply})).begin()
    assert caught.value.reason == reason


def test_discovery_url_keeps_the_path_of_the_issuer():
    provider = Provider(document=metadata(issuer=ISSUER + "/t/"), replies={"/t" + DISCOVERY: None})
    provider.replies["/t" + DISCOVERY] = answer(provider.document)
    Story(provider, issuer=ISSUER + "/t/").begin()
    assert provider.requests[0].url == ISSUER + "/t/.well-known/openid-configuration"


def test_nothing_is_asked_at_start_and_the_document_once_an_hour():
    story = Story()
    assert story.provider.requests == []
    for _ in range(3):
        story.begin()
    assert story.provider.asked(DISCOVERY) == 1
    story.clock.pass_(3601)
    story.begin()
    assert story.provider.asked(DISCOVERY) == 2


def test_dead_provider_is_not_hammered_and_comes_back():
    story = Story(Provider(replies={DISCOVERY: DOWN}))
    for _ in range(5):
        with pytest.raises(ProviderUnavailable):
            story.begin()
    assert story.provider.asked(DISCOVERY) == 1
    for expected, pause in ((2, 1), (3, 2), (4, 4), (5, 8), (6, 16), (7, 32), (8, 60), (9, 60)):
        story.clock.pass_(pause)
        with pytest.raises(ProviderUnavailable):
            story.begin()
        assert story.provider.asked(DISCOVERY) == expected
    story.provider.replies.clear()
    story.clock.pass_(60)
    assert story.begin()


def test_known_document_serves_for_a_day_while_the_provider_is_down():
    story = Story()
    story.begin()
    story.provider.replies[DISCOVERY] = DOWN
    story.clock.pass_(3601)
    assert story.begin()
    assert story.begin()
    assert story.provider.asked(DISCOVERY) == 2
    story.clock.pass_(86_400)
    with pytest.raises(ProviderUnavailable):
        story.begin()


def test_document_that_turns_into_anothers_is_believed_no_longer():
    story = Story()
    story.begin()
    story.provider.document = metadata(issuer="https://evil.example")
    story.clock.pass_(3601)
    for _ in range(2):
        with pytest.raises(VerificationError, match="metadata_issuer_mismatch"):
            story.begin()


def test_simultaneous_logins_fetch_once():
    calls = 0
    clock = FakeClock()

    async def load():
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.01)
        return object()

    async def run():
        kept = Kept(load, clock=clock, locks=asyncio.Lock)
        first = await asyncio.gather(*(kept.get() for _ in range(40)))
        clock.pass_(3601)
        again = await asyncio.gather(*(kept.get() for _ in range(40)))
        return set(first), again, await kept.get()

    first, again, newest = asyncio.run(run())
    assert len(first) == 1
    assert calls == 2
    assert again.count(newest) == 1
    assert set(again) == first | {newest}  # the others go on with what is there


def test_simultaneous_renewals_share_one_fetch():
    calls = 0

    async def load():
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.01)
        return object()

    async def run():
        kept = Kept(load, clock=FakeClock(), locks=asyncio.Lock)
        seen = await kept.get()
        newer = await asyncio.gather(*(kept.renewed(seen, lambda: calls < 2) for _ in range(5)))
        return seen, set(newer), await kept.renewed(next(iter(newer)), lambda: calls < 2)

    seen, newer, later = asyncio.run(run())
    assert len(newer) == 1
    assert seen not in newer
    assert later in newer  # no further one where none is allowed
    assert calls == 2


def test_renewal_after_a_wrong_answer_fetches_anew():
    answers = [object(), VerificationError("metadata_issuer_mismatch"), object()]

    async def load():
        one = answers.pop(0)
        if isinstance(one, Exception):
            raise one
        return one

    clock = FakeClock()
    kept = Kept(load, clock=clock, locks=NoLocks())
    seen = step(kept.get())
    for _ in range(2):
        with pytest.raises(VerificationError):
            step(kept.renewed(seen, lambda: True))
    clock.pass_(1)
    assert step(kept.renewed(seen, lambda: True)) is step(kept.get())


def test_forty_waiters_on_a_dead_provider_cost_one_try():
    calls = 0

    async def load():
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.01)
        raise ProviderUnavailable("deadline")

    async def run():
        kept = Kept(load, clock=FakeClock(), locks=asyncio.Lock)
        return await asyncio.gather(*(kept.get() for _ in range(40)), return_exceptions=True)

    results = asyncio.run(run())
    assert {type(result) for result in results} == {ProviderUnavailable}
    assert calls == 1


# --- keys ---------------------------------------------------------------------------------------------------------

BROKEN = [
    {"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA", "kid": "odd"},
    {"kty": "AKP", "alg": "ML-DSA-65", "pub": "AAAA"},
    {"kty": "RSA", "n": "!!!", "e": "AQAB"},
    {"kty": "RSA", "n": 5, "e": "AQAB"},
    {"kty": "RSA", "e": "AQAB"},
    {"kty": "RSA", "n": "", "e": ""},
    {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
    {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
    {"kty": "OKP", "crv": "X25519", "x": "AA"},
    {"kty": ["RSA"]},
    {"kid": 5, **public(RSA, kid=5)},
    {},
    "text",
    None,
    7,
]


def test_odd_and_broken_keys_are_passed_over():
    story = Story(Provider(keys=[*BROKEN, public(RSA)]))
    assert story.login().subject == "subject-1"
    assert all(read_key(key) is None for key in BROKEN if isinstance(key, dict))


def test_key_set_of_thousands_is_cut():
    assert len(read_keys({"keys": [public(EC)] * 5000})) == 64


@pytest.mark.parametrize(
    "changes",
    [{"use": "enc"}, {"use": ["sig"]}, {"use": None, "key_ops": ["encrypt"]}, {"use": None, "key_ops": "verify"}, {"alg": "RS512"}, {"alg": "RSA-OAEP"},
     {"alg": 5}, {"d": RSA.as_dict(private=True)["d"]}],
    ids=named,
)  # fmt: skip
def test_key_not_meant_for_this_is_not_used(changes):
    story = Story(
        Provider(keys=[{name: value for name, value in (public(RSA) | changes).items() if value is not None}])
    )
    with pytest.raises(VerificationError, match="key_unknown"):
        story.login()


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_weak_and_monstrous_rsa_keys_are_refused():
    weak = RSAKey.generate_key(1024, {"kid": "weak"})
    assert read_key(public(weak)) is None
    assert read_key({"kty": "RSA", "n": "x" + "A" * 3000, "e": "AQAB"}) is None
    for exponent, sound in ((65537, True), (2**63 + 1, True), (2**65 + 1, False), (2**1000 + 1, False)):
        key = read_key(public(RSA) | {"e": b64(exponent.to_bytes(126, "big").lstrip(b"\0"))})
        assert (key is not None) is sound


@pytest.mark.parametrize(
    "changes", [{"alg": "RSA-OAEP"}, {"alg": "ES256"}, {"alg": 5}, {"use": "enc"}, {"key_ops": ["encrypt"]}], ids=named
)
def test_key_for_something_else_is_no_key_of_ours(changes):
    assert read_key(public(RSA) | changes) is None


def test_symmetric_keys_are_ignored():
    secret = OctKey.import_key("0" * 64, {"kid": "rsa", "alg": "HS256"}).as_dict(private=True)
    assert read_key(secret) is None
    assert Story(Provider(keys=[secret, public(RSA)])).login().subject == "subject-1"


def test_single_key_and_token_without_kid():
    assert Story(Provider(keys=[public(RSA, kid=None)])).finish(sign(claims(), header={})).subject == "subject-1"


def test_token_with_kid_for_keys_without():
    assert Story(Provider(keys=[public(RSA, kid=None)])).login().subject == "subject-1"


def test_token_without_kid_tries_every_key_of_its_algorithm():
    provider = Provider(keys=[public(EC), public(OTHER_RSA, alg=None), public(RSA)])
    assert Story(provider).finish(sign(claims(), header={})).subject == "subject-1"


def test_two_keys_may_share_a_kid_across_kinds():
    provider = Provider(keys=[public(EC, kid="same"), public(RSA, kid="same")])
    assert Story(provider).finish(sign(claims(), header={"kid": "same"})).subject == "subject-1"


def test_rotated_key_is_found_by_asking_again():
    story = Story(Provider(keys=[public(OTHER_RSA, kid="old")]))
    story.provider.id_token = sign(claims(), key=OTHER_RSA, header={"kid": "old"})
    story.finish()
    story.provider.keys = [public(RSA, kid="new")]
    assert story.finish(sign(claims(), header={"kid": "new"})).subject == "subject-1"
    assert story.provider.asked("/jwks") == 2


def test_rotation_without_kid_is_found_too():
    story = Story(Provider(keys=[public(OTHER_RSA, kid=None)]))
    story.finish(sign(claims(), key=OTHER_RSA, header={}))
    story.provider.keys = [public(RSA, kid=None)]
    assert story.finish(sign(claims(), header={})).subject == "subject-1"


def test_unknown_kids_cost_a_few_fetches_at_once_and_then_one_in_fifteen_seconds():
    story = Story()
    story.login()
    assert story.provider.asked("/jwks") == 1
    for n in range(10):
        with pytest.raises(VerificationError, match="key_unknown"):
            story.finish(sign(claims(), header={"kid": f"unknown-{n}"}))
    assert story.provider.asked("/jwks") == 1 + 5
    for n in range(10, 50):
        story.clock.pass_(3)
        with pytest.raises(VerificationError, match="key_unknown"):
            story.finish(sign(claims(iat=story.clock.wall), header={"kid": f"unknown-{n}"}))
    assert story.provider.asked("/jwks") == 1 + 5 + 120 / 15
    assert story.login(iat=story.clock.wall).subject == "subject-1"


def test_the_same_unknown_kid_costs_one_fetch_in_thirty_seconds():
    story = Story()
    story.login()
    for _ in range(10):
        with pytest.raises(VerificationError, match="key_unknown"):
            story.finish(sign(claims(), header={"kid": "unknown"}))
    assert story.provider.asked("/jwks") == 2
    story.clock.pass_(29)
    with pytest.raises(VerificationError, match="key_unknown"):
        story.finish(sign(claims(), header={"kid": "unknown"}))
    assert story.provider.asked("/jwks") == 2
    story.clock.pass_(1)
    with pytest.raises(VerificationError, match="key_unknown"):
        story.finish(sign(claims(), header={"kid": "unknown"}))
    assert story.provider.asked("/jwks") == 3


def test_new_key_is_found_although_one_unknown_kid_came_just_before():
    story = Story(Provider(keys=[public(OTHER_RSA, kid="old")]))
    story.finish(sign(claims(), key=OTHER_RSA, header={"kid": "old"}))
    with pytest.raises(VerificationError, match="key_unknown"):
        story.finish(sign(claims(), header={"kid": "garbage"}))
    story.provider.keys = [public(RSA, kid="new")]
    assert story.finish(sign(claims(), header={"kid": "new"})).subject == "subject-1"


def test_new_key_is_found_as_soon_as_its_provider_answers_again():
    story = Story(Provider(keys=[public(OTHER_RSA, kid="old")]))
    story.finish(sign(claims(), key=OTHER_RSA, header={"kid": "old"}))
    story.provider.keys, story.provider.replies["/jwks"] = [public(RSA, kid="new")], DOWN
    new = sign(claims(), header={"kid": "new"})
    for _ in range(3):  # asked once: a provider that has just failed is left alone for a second
        with pytest.raises(ProviderUnavailable, match="unreachable"):
            story.finish(new)
    assert story.provider.asked("/jwks") == 2
    story.provider.replies.clear()
    story.clock.pass_(1)
    assert story.finish(new).subject == "subject-1"


def test_new_key_is_found_although_the_login_that_looked_for_it_was_broken_off():
    story = Story(Provider(keys=[public(OTHER_RSA, kid="old")]))
    story.finish(sign(claims(), key=OTHER_RSA, header={"kid": "old"}))
    story.provider.keys, story.provider.replies["/jwks"] = [public(RSA, kid="new")], asyncio.CancelledError()
    new = sign(claims(), header={"kid": "new"})
    with pytest.raises(asyncio.CancelledError):
        story.finish(new)
    story.provider.replies.clear()
    assert story.finish(new).subject == "subject-1"


def test_who_always_breaks_off_makes_us_fetch_no_more_often_than_the_budget_allows():
    story = Story()
    story.login()
    story.provider.replies["/jwks"] = asyncio.CancelledError()
    unknown = sign(claims(), header={"kid": "unknown"})
    for _ in range(5):
        with pytest.raises(asyncio.CancelledError):
            story.finish(unknown)
    for _ in range(5):
        with pytest.raises(VerificationError, match="key_unknown"):
            story.finish(unknown)
    assert story.provider.asked("/jwks") == 1 + 5


def test_bad_signature_of_a_known_key_makes_us_fetch_nothing():
    story = Story()
    story.login()
    for _ in range(3):
        with pytest.raises(VerificationError, match="signature_invalid"):
            story.finish(sign(claims(), key=OTHER_RSA))
    assert story.provider.asked("/jwks") == 1


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (answer({}, 500), "keys_unavailable"),
        (answer(b"x"), "keys_malformed"),
        (answer({"keys": {}}), "keys_malformed"),
        (DOWN, "unreachable"),
    ],
    ids=named,
)
def test_missing_keys_are_unavailability(reply, reason):
    with pytest.raises(ProviderUnavailable) as caught:
        Story(Provider(replies={"/jwks": reply})).login()
    assert caught.value.reason == reason


def test_known_keys_serve_while_the_key_endpoint_is_down():
    story = Story()
    story.login()
    story.provider.replies["/jwks"] = DOWN
    story.clock.pass_(3601)
    assert story.finish(sign(claims(iat=NOW + 3601, exp=NOW + 4000))).subject == "subject-1"


def test_keys_follow_the_metadata_to_a_new_address():
    story = Story()
    story.login()
    story.provider.document = metadata(jwks_uri=ISSUER + "/jwks2")
    story.provider.replies["/jwks2"] = answer({"keys": [public(EC)]})
    story.clock.pass_(3601)
    assert story.finish(sign(claims(iat=NOW + 3601, exp=NOW + 4000), key=EC)).subject == "subject-1"


def test_key_of_one_provider_verifies_nothing_for_another():
    other = Provider(document=metadata(issuer="https://b.example"), keys=[public(ED)])
    story = Story(other, issuer="https://b.example")
    with pytest.raises(VerificationError, match="key_unknown"):
        story.finish(sign(claims(iss="https://b.example"), key=RSA), login=LOGIN)


def test_wrong_curve_for_the_algorithm_is_not_used():
    p384 = ECKey.generate_key("P-384", {"kid": "ec"})
    assert read_key(public(p384)).algorithms == {"ES384"}
