"""Stories of the main job, each through WSGI and ASGI, against a certified provider."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from joserfc.jwk import ECKey

from jit_middleware import ConfigurationError
from jit_middleware.bridge import step
from jit_middleware.model import Account, Status
from jit_middleware.ports import Transaction
from jit_middleware.provisioning.lifecycle import Trigger, move
from tests.scenarios.conftest import SECRET, Stage, StageBuilder


def suspend(stage: Stage, user_id: str) -> None:
    async def work(tx: Transaction) -> Account | None:
        account = await tx.find_account(user_id)
        assert account is not None
        policy, now = stage.settings.provisioning, stage.clock.now()
        return await move(tx, account, Trigger.SUSPEND, settings=policy, actor="test", at=now, event_id=f"e-{user_id}")

    assert step(stage.ledger.transaction(work)) is not None


# --- ways to speak with the provider --------------------------------------------------------------------------------


def test_client_secret_post(build: StageBuilder) -> None:
    stage = build(
        registration={"token_endpoint_auth_method": "client_secret_post"}, JIT_OIDC_CLIENT_AUTH="client_secret_post"
    )
    assert stage.sign_in(stage.person("alice")).status == 200


def test_wrong_client_secret_is_an_error_in_the_log_that_names_settings_and_connection(
    build: StageBuilder, caplog: pytest.LogCaptureFixture
) -> None:
    stage = build(JIT_OIDC_CLIENT_SECRET="wrong-but-well-guarded")
    answer = stage.sign_in(stage.person("alice"))
    assert answer.status == 403
    assert "JIT_OIDC" not in answer.text
    (entry,) = [entry for entry in caplog.records if "reason=invalid_client" in entry.getMessage()]
    assert entry.levelno == logging.ERROR
    accepted = "the provider does not accept JIT_OIDC_CLIENT_ID or JIT_OIDC_CLIENT_SECRET (connection oidc)"
    assert f"detail={accepted}" in entry.getMessage()
    assert "well-guarded" not in caplog.text
    (event,) = stage.events("login.refused")
    assert (event.reason, event.data["code"]) == ("invalid_client", "provider_refused")


def test_private_key_jwt(build: StageBuilder) -> None:
    key = ECKey.generate_key("P-256", {"kid": "rp", "alg": "ES256", "use": "sig"})
    stage = build(
        registration={
            "token_endpoint_auth_method": "private_key_jwt",
            "token_endpoint_auth_signing_alg": "ES256",
            "jwks": {"keys": [key.as_dict(private=False)]},
        },
        JIT_OIDC_PRIVATE_KEY=json.dumps(key.as_dict(private=True)),
    )
    assert stage.sign_in(stage.person("alice")).status == 200


def test_pushed_authorization_request_when_the_client_must(build: StageBuilder) -> None:
    stage = build(registration={"require_pushed_authorization_requests": True}, JIT_OIDC_PUSHED_AUTHORIZATION="true")
    sent = stage.client.get("/")
    assert "request_uri=" in sent.location
    assert "code_challenge" not in sent.location
    assert stage.sign_in(stage.person("alice"), client=stage.client.another()).status == 200


def test_form_post_answers_reach_the_login_that_began_them(build: StageBuilder) -> None:
    stage = build(JIT_OIDC_RESPONSE_MODE="form_post")
    alice = stage.person("alice")
    departure = stage.depart(stage.client, stage.agent(alice), "/deep?x=1")
    assert departure.fields is not None
    landed = stage.come_back(stage.client, departure)
    assert (landed.status, landed.location.endswith("/deep?x=1")) == (303, True)
    assert stage.client.get("/deep?x=1").json()["remote_user"] == alice


def test_es256_id_tokens(build: StageBuilder) -> None:
    stage = build(registration={"id_token_signed_response_alg": "ES256"})
    assert stage.sign_in(stage.person("alice")).status == 200


def test_claims_that_are_only_in_userinfo_are_fetched(build: StageBuilder) -> None:
    stage = build()
    alice = stage.person("alice")
    with stage.provider.claims_only_in("userinfo"):
        seen = stage.sign_in(alice).json()
    assert seen["user"]["email"] == f"{alice}@example.org"
    assert any("/me" in line or "userinfo" in line for line in stage.provider.requests())


def test_a_key_rotation_needs_no_restart(build: StageBuilder) -> None:
    stage = build()
    alice = stage.person("alice")
    stage.sign_in(alice)
    stage.provider.rotate_keys()
    assert stage.sign_in(alice, client=stage.client.another()).status == 200


def test_a_provider_that_is_down_at_start_is_a_clear_page_and_heals(build: StageBuilder) -> None:
    stage = build()
    alice = stage.person("alice")
    stage.provider.stop()
    try:
        answer = stage.client.get("/")
        assert answer.status == 503
        assert "provider_unavailable" in answer.text
        assert "Traceback" not in answer.text
    finally:
        stage.provider.start()
    stage.clock.advance(120)
    assert stage.sign_in(alice).status == 200


def test_live_sessions_outlive_the_provider(build: StageBuilder) -> None:
    stage = build()
    stage.sign_in(stage.person("alice"))
    stage.provider.stop()
    try:
        assert stage.client.get("/page").status == 200
        stage.clock.advance(30)
        assert stage.client.get("/page").status == 200
    finally:
        stage.provider.start()


def test_a_provider_that_is_down_does_not_keep_anybody_signed_in_and_the_log_says_so(
    build: StageBuilder, caplog: pytest.LogCaptureFixture
) -> None:
    stage = build()
    stage.sign_in(stage.person("alice"))
    stage.provider.stop()
    try:
        fresh = stage.worker()
        fresh.jar = stage.client.jar
        assert fresh.get("/page").status == 200
        left = fresh.post("/_jit/logout")
        assert (left.status, left.location) == (303, "http://localhost:8000/_jit/signed-out")
        assert fresh.get("/page").status != 200
    finally:
        stage.provider.start()
    assert "the session at oidc goes on, its logout cannot be asked for: " in caplog.text
    assert "alice" not in caplog.text


def test_a_refusal_of_the_provider_is_a_page_with_code_and_reference(build: StageBuilder) -> None:
    stage = build()
    alice = stage.person("alice")
    agent = stage.closing.enter_context(stage.provider.agent(alice, press="abort"))
    answer = stage.come_back(stage.client, stage.depart(stage.client, agent))
    assert answer.status == 403
    assert "provider_refused" in answer.text
    (event,) = stage.events("login.refused")
    assert event.reason == "access_denied"
    assert event.reference is not None
    assert event.reference in answer.text


# --- the gate -------------------------------------------------------------------------------------------------------


def test_public_and_optional_paths_are_anonymous_until_somebody_signs_in(build: StageBuilder) -> None:
    stage = build(JIT_PUBLIC_PATHS="/assets/*", JIT_OPTIONAL_PATHS="/news")
    for path in ("/assets/site.css", "/news"):
        seen = stage.client.get(path).json()
        assert (seen["user"], seen["is_authenticated"]) == (None, False)
    stage.sign_in(stage.person("alice"))
    assert stage.client.get("/news").json()["is_authenticated"] is True


@pytest.mark.parametrize("path", ["/api/things", "/page"])
def test_what_cannot_follow_a_redirect_gets_a_401_with_the_login_url(build: StageBuilder, path: str) -> None:
    stage = build(JIT_API_PATHS="/api/*")
    answer = stage.client.xhr(path)
    assert answer.status == 401
    assert answer.json()["error"] == "login_required"
    assert answer.json()["login_url"].startswith("http://localhost:8000/_jit/login?next=")
    assert answer.header("www-authenticate") is not None
    assert answer.all("set-cookie") == []


def test_a_navigation_to_an_api_path_is_not_redirected_either(build: StageBuilder) -> None:
    stage = build(JIT_API_PATHS="/api/*")
    assert stage.client.get("/api/things").status == 401


def test_a_websocket_without_a_session_is_refused_before_accept(build: StageBuilder) -> None:
    stage = build()
    if stage.edge == "wsgi":
        return
    assert stage.client.handshake("/ws").status == 401
    assert stage.client.handshake("/ws", denial=False).status == 403
    alice = stage.person("alice")
    stage.sign_in(alice)
    assert stage.client.handshake("/ws").status == 101
    assert stage.client.handshake("/ws", headers={"Origin": "https://evil.example"}).status == 403


def test_a_write_from_another_site_is_refused(build: StageBuilder) -> None:
    stage = build()
    stage.sign_in(stage.person("alice"))
    assert stage.client.post("/things", {"a": "1"}).status == 200
    cookie = stage.client.jar.header("http://localhost:8000/")
    forged = stage.client.post(
        "/things",
        {"a": "1"},
        headers={"Cookie": cookie, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    )
    assert forged.status == 403
    assert "cross_site_request" in forged.text


def test_our_cookies_are_hidden_from_the_app_and_others_are_not(build: StageBuilder) -> None:
    stage = build()
    stage.sign_in(stage.person("alice"))
    stage.client.jar.store("http://localhost:8000/", ["theirs=1; Path=/"])
    assert stage.client.get("/").json()["headers"]["cookie"] == "theirs=1"


def test_a_mounted_app_keeps_its_mount(build: StageBuilder) -> None:
    stage = build(mount="/legacy")
    alice = stage.person("alice")
    seen = stage.sign_in(alice, "/deep?x=1").json()
    assert (seen["mount"], seen["path"], seen["query"]) == ("/legacy", "/deep", "x=1")


def test_two_tabs_both_end_well(build: StageBuilder) -> None:
    stage = build()
    agent = stage.agent(stage.person("alice"))
    first = stage.depart(stage.client, agent, "/one")
    second = stage.depart(stage.client, agent, "/two")
    assert stage.come_back(stage.client, first).location.endswith("/one")
    assert stage.come_back(stage.client, second).location.endswith("/two")
    assert stage.client.get("/").status == 200


def test_a_reloaded_callback_goes_home_without_a_second_code(build: StageBuilder) -> None:
    stage = build()
    departure = stage.depart(stage.client, stage.agent(stage.person("alice")), "/one")
    stage.come_back(stage.client, departure)
    stage.provider.requests()
    again = stage.come_back(stage.client, departure)
    assert (again.status, again.location) == (303, "http://localhost:8000/")
    assert not any("/token" in line for line in stage.provider.requests())


def test_a_callback_of_a_browser_that_lost_its_cookie_begins_anew_once(build: StageBuilder) -> None:
    stage = build()
    agent = stage.agent(stage.person("alice"))
    departure = stage.depart(stage.client, agent)
    stranger = stage.client.another()
    healed = stage.come_back(stranger, departure)
    assert healed.status in {302, 303}, "the latter where the answer was posted"
    second = agent.visit(healed.location)
    third = stage.client.another()
    stopped = stage.come_back(third, second)
    assert stopped.status == 400
    assert "login_expired" in stopped.text


def test_a_session_cookie_that_never_comes_back_ends_in_a_page_that_names_the_cause(
    build: StageBuilder, caplog: pytest.LogCaptureFixture
) -> None:
    stage = build()
    agent = stage.agent(stage.person("alice"))
    for _ in range(3):
        stage.come_back(stage.client, stage.depart(stage.client, agent))
        stage.client.jar.store("http://localhost:8000/", ["jit=; Path=/; Max-Age=0"])
    stopped = stage.client.get("/")
    assert stopped.status == 400
    assert "login_loop" in stopped.text
    (line,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("login_loop ")]
    assert line.startswith("login_loop reason=session_not_kept reference=")
    assert line.partition("reference=")[2].partition(" ")[0] in stopped.text
    assert " method=GET path=/ client=" in line


def test_two_connections_are_a_choice(build: StageBuilder, tmp_path: Path) -> None:
    config = tmp_path / "jit.toml"
    config.write_text(
        '[connections.other]\nprotocol = "oidc"\nissuer = "https://login.example.org"\nclient_id = "x"\n'
        'client_secret = "y"\nlabel = "The other one"\n'
    )
    stage = build(JIT_CONFIG=str(config), JIT_OIDC_LABEL="The first one")
    page = stage.client.get("/deep")
    assert page.status == 200
    assert "The other one" in page.text
    assert "The first one" in page.text
    chosen = stage.client.get("/_jit/login/oidc?next=/deep")
    landed = stage.come_back(stage.client, stage.agent(stage.person("alice")).visit(chosen.location))
    assert landed.location.endswith("/deep")


# --- sessions -------------------------------------------------------------------------------------------------------


def test_idle_and_absolute_limits(build: StageBuilder) -> None:
    stage = build(JIT_SESSION_IDLE="10m", JIT_SESSION_ABSOLUTE="30m")
    alice = stage.person("alice")
    stage.sign_in(alice)
    for _ in range(5):
        stage.clock.advance(5 * 60)
        assert stage.client.get("/").status == 200
    stage.clock.advance(5 * 60 + 1)
    assert stage.client.get("/").status == 302
    stage.sign_in(alice, client=(idle := stage.client.another()))
    stage.clock.advance(10 * 60 + 1)
    assert idle.get("/").status == 302


def test_a_rotated_secret_keeps_everybody_signed_in(build: StageBuilder) -> None:
    stage = build()
    stage.sign_in(stage.person("alice"))
    rotated = stage.worker(JIT_SECRET_KEY=f"Tq7fX1uJm9Zc4RkWv2Yb8Ns5Gd0Lh3PeAi6oKxEtQzU,{SECRET}")
    rotated.jar = stage.client.jar
    assert rotated.get("/").status == 200
    retired = stage.worker(JIT_SECRET_KEY="Tq7fX1uJm9Zc4RkWv2Yb8Ns5Gd0Lh3PeAi6oKxEtQzU")
    retired.jar = stage.client.jar
    assert retired.get("/").status == 302


def test_a_new_login_ends_the_session_it_replaces(build: StageBuilder) -> None:
    stage = build()
    agent = stage.agent(stage.person("alice"))
    first, second = stage.depart(stage.client, agent, "/a"), stage.depart(stage.client, agent, "/b")
    stage.come_back(stage.client, first)
    old = stage.client.prepare("GET", "/")
    stage.come_back(stage.client, second)
    (answer,) = stage.client.together(old)
    assert answer.status == 302
    assert [event.reason for event in stage.events("session.ended")] == ["replaced"]


def test_a_suspended_user_is_out_within_the_bound_and_is_not_revived_by_a_login(build: StageBuilder) -> None:
    stage = build()
    alice = stage.person("alice")
    user = stage.sign_in(alice).json()["user"]
    suspend(stage, user["id"])
    stage.clock.advance(1.0)
    assert stage.client.get("/").status == 302
    refused = stage.sign_in(alice, client=stage.client.another())
    assert refused.status == 403
    assert stage.events("login.refused")[-1].reason == "account_suspended"
    assert stage.accounts()[0].status is Status.SUSPENDED


def test_the_session_endpoint_says_who_i_am(build: StageBuilder) -> None:
    stage = build()
    assert stage.client.xhr("/_jit/session").status == 401
    alice = stage.person("alice")
    stage.sign_in(alice)
    answer = stage.client.xhr("/_jit/session")
    assert answer.json()["user"]["username"] == alice
    assert "expires_at" in answer.json()


def test_logout_wants_a_token_or_our_own_origin(build: StageBuilder) -> None:
    stage = build()
    stage.sign_in(stage.person("alice"))
    cookie = stage.client.jar.header("http://localhost:8000/")
    foreign = {"Cookie": cookie, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert stage.client.post("/_jit/logout", {"token": "guess"}, headers=foreign).status == 200
    assert stage.client.get("/").status == 200
    assert stage.client.post("/_jit/logout").status == 303
    assert stage.client.get("/").status == 302


def test_a_logout_answer_with_another_state_is_not_taken_for_ours(build: StageBuilder) -> None:
    stage = build()
    alice = stage.person("alice")
    agent = stage.agent(alice)
    stage.sign_in(alice, agent=agent)
    back = agent.visit(stage.client.post("/_jit/logout").location)
    changed = stage.client.get(back.url.replace("state=", "state=x"))
    assert changed.status == 400
    assert "logout_unconfirmed" in changed.text
    assert stage.client.get("/").status == 302
    assert stage.client.get(back.url).status == 200
    assert stage.client.get("/_jit/signed-out").status == 200


# --- provisioning ---------------------------------------------------------------------------------------------------


def test_match_only_and_off_create_nobody_but_let_linked_people_in(build: StageBuilder) -> None:
    stage = build()
    alice, bob = stage.person("alice"), stage.person("bob")
    stage.sign_in(alice)
    for mode in ("match_only", "off"):
        strict = stage.worker(JIT_PROVISIONING=mode)
        assert stage.sign_in(alice, client=strict).status == 200
        assert stage.sign_in(bob, client=strict.another()).status == 403
    assert len(stage.accounts()) == 1
    assert {event.reason for event in stage.events("login.refused")} == {"creation_off"}


def test_the_profile_follows_the_provider_and_the_username_stays(build: StageBuilder) -> None:
    stage = build()
    alice = stage.person("alice")
    stage.sign_in(alice)
    stage.provider.add_user(
        alice,
        {"preferred_username": "renamed", "name": "Alice Newname", "email": "new@example.org", "email_verified": True},
    )
    user = stage.sign_in(alice, client=stage.client.another()).json()["user"]
    assert (user["username"], user["display_name"], user["email"]) == (alice, "Alice Newname", "new@example.org")


def test_a_profile_is_left_alone_when_sync_is_first_login(build: StageBuilder) -> None:
    stage = build(JIT_SYNC="first_login")
    alice = stage.person("alice")
    stage.sign_in(alice)
    stage.provider.add_user(alice, {"preferred_username": alice, "name": "Changed", "email": "new@example.org"})
    user = stage.sign_in(alice, client=stage.client.another()).json()["user"]
    assert user["display_name"] == "Alice"


def test_birthright_roles_come_and_go_with_the_claims(build: StageBuilder) -> None:
    stage = build(
        JIT_DEFAULT_ROLES="reader",
        JIT_ROLE_RULES='[{"when": "contains(groups, \'staff\')", "grant": ["writer"]}]',
        JIT_OIDC_SCOPES="openid email profile groups",
    )
    alice = stage.person("alice", groups=["staff"])
    assert stage.sign_in(alice).json()["user"]["roles"] == ["reader", "writer"]
    stage.person("alice", groups=[])
    assert stage.sign_in(alice, client=stage.client.another()).json()["user"]["roles"] == ["reader"]


def test_a_role_that_is_gone_is_gone_in_sessions_that_live(build: StageBuilder) -> None:
    stage = build(
        JIT_ROLE_RULES='[{"when": "contains(groups, \'staff\')", "grant": ["writer"]}]',
        JIT_OIDC_SCOPES="openid email profile groups",
    )
    alice = stage.person("alice", groups=["staff"])
    stage.sign_in(alice)
    stage.person("alice", groups=[])
    stage.sign_in(alice, client=stage.client.another())
    stage.clock.advance(1)
    assert stage.client.get("/").json()["user"]["roles"] == []


def test_a_username_that_is_taken_never_links(build: StageBuilder) -> None:
    stage = build()
    alice = stage.person("alice")
    stage.sign_in(alice)
    stage.provider.add_user(f"other-{alice}", {"preferred_username": alice.upper(), "email": f"{alice}@example.org"})
    refused = stage.sign_in(f"other-{alice}", client=stage.client.another())
    assert refused.status == 403
    assert stage.events("login.refused")[-1].reason == "username_taken"
    assert len(stage.accounts()) == 1


def test_gates(build: StageBuilder) -> None:
    stage = build(
        JIT_ALLOWED_DOMAINS="example.org", JIT_REQUIRED_GROUPS="staff", JIT_OIDC_SCOPES="openid email profile groups"
    )
    inside = stage.person("inside", groups=["staff"])
    outside = stage.person("outside", groups=["staff"], email="a@sub.example.org")
    nobody = stage.person("nobody", groups=["guests"])
    assert stage.sign_in(inside).status == 200
    assert stage.sign_in(outside, client=stage.client.another()).status == 403
    assert stage.sign_in(nobody, client=stage.client.another()).status == 403
    assert [event.reason for event in stage.events("login.refused")] == ["domain_not_allowed", "group_required"]
    assert len(stage.accounts()) == 1


def test_pending_users_are_recorded_and_wait(build: StageBuilder) -> None:
    stage = build(JIT_INITIAL_STATUS="pending")
    alice = stage.person("alice")
    for _ in range(2):
        assert stage.sign_in(alice, client=stage.client.another()).status == 403
    assert [account.status for account in stage.accounts()] == [Status.PENDING]
    assert [event.type for event in stage.events()] == ["user.created", "login.refused", "login.refused"]
    assert {event.reason for event in stage.events("login.refused")} == {"account_pending"}


def test_an_existing_account_is_adopted_only_by_proof(build: StageBuilder) -> None:
    stage = build(JIT_LINK_POLICY="auto", JIT_OIDC_VERIFIED_DOMAINS="example.org")
    address = stage.person("shared") + "@example.org"

    async def make(tx: Transaction) -> str:
        from jit_middleware.model import Profile

        assert tx.users is not None
        return (await tx.users.create(Profile("key-1", "old-timer", email=address, email_verified=True))).id

    step(stage.ledger.prepare())
    old = step(stage.ledger.transaction(make))
    liar = stage.person("liar", email=address, email_verified=False)
    assert stage.sign_in(liar).json()["user"]["id"] != old
    owner = stage.person("owner", email=address)
    step(stage.ledger.transaction(lambda tx: _drop_liar(stage, tx, liar)))
    seen = stage.sign_in(owner, client=stage.client.another()).json()["user"]
    assert (seen["id"], seen["username"]) == (old, "old-timer")
    assert [event.data["proof"] for event in stage.events("identity.linked")] == ["verified_email"]


async def _drop_liar(stage: Stage, tx: Transaction, liar: str) -> None:
    """The liar's account has the address too, so two accounts would match: move its address away."""
    from jit_middleware.model import ProfileChanges

    assert tx.users is not None
    for user in await tx.users.find(username=liar):
        await tx.users.update(user.id, ProfileChanges(email="liar@example.org"))


def test_trying_again_after_a_refusal_lets_another_person_sign_in(build: StageBuilder) -> None:
    stage = build(JIT_REQUIRED_GROUPS="staff", JIT_OIDC_SCOPES="openid email profile groups")
    nobody = stage.person("nobody", groups=[])
    page = stage.sign_in(nobody)
    assert page.status == 403
    assert "someone=else" in page.text
    again = stage.client.get("/_jit/login/oidc?next=/&someone=else")
    assert "prompt=login" in again.location


# --- when things outside fail ---------------------------------------------------------------------------------------


def test_a_database_that_is_not_there_is_a_clear_503(build: StageBuilder, tmp_path: Path) -> None:
    missing = tmp_path / "no-such-directory" / "jit.db"
    stage_env = {"database_url": f"sqlite:///{missing}"}
    stage = build(**stage_env, JIT_PUBLIC_PATHS="/assets/*")
    stage.client.jar.store("http://localhost:8000/", ["jit=junk; Path=/"])
    assert stage.client.get("/assets/x").status == 200
    assert stage.client.get("/_jit/health").status == 200
    assert stage.client.get("/_jit/ready").status == 503
    answer = stage.come_back(stage.client, stage.depart(stage.client, stage.agent(stage.person("alice"))))
    assert answer.status == 503
    assert "store_unavailable" in answer.text
    assert "Traceback" not in answer.text


def test_ready_says_when_it_can_serve(build: StageBuilder) -> None:
    stage = build()
    assert stage.client.get("/_jit/ready").json() == {"status": "ready", "revocation": "fresh"}
    assert stage.client.get("/_jit/health").json() == {"status": "ok"}


def test_an_async_driver_under_wsgi_is_refused_with_both_ways_out(build: StageBuilder, tmp_path: Path) -> None:
    if build.edge == "asgi":
        assert build(database_url=f"sqlite+aiosqlite:///{tmp_path}/x.db").client is not None
        return
    with pytest.raises(ConfigurationError) as refused:
        build(database_url="sqlite+aiosqlite:///x.db")
    (fault,) = refused.value.faults
    assert fault.setting == "JIT_DATABASE_URL"
    assert "ASGI" in fault.fix
    assert "sqlite://" in fault.fix
