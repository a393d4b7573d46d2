from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from jit_middleware.errors import ConfigurationError, RequestError
from jit_middleware.http.messages import Response
from jit_middleware.pages import LOGOUT_TOKEN_FIELD, Pages, Ways, json_error, redirect, security_headers

EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}&amp;"
VOID = {"meta", "input", "br", "hr", "img", "link"}
EVERYWHERE = Ways(login="/_jit/login", retry="/_jit/login?next=/a", someone_else="/_jit/login/a?someone=else", home="/")
SHIPPED = Path(__import__("jit_middleware.pages").pages.__file__).parent / "templates"


class Document(HTMLParser):
    """Reads a page strictly: every element is closed in order, and nothing is left open."""

    def __init__(self, body: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.style = ""
        self._open: list[str] = []
        self.feed(body.decode("utf-8"))
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"<{tag}> repeats an attribute"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self._open, f"<{tag}/> outside svg"
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.style += data
        else:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def every_page(pages: Pages, text: str = "Plain") -> dict[str, Response]:
    return {
        "chooser": pages.chooser([(text, "/_jit/login/a"), ("Second", "/_jit/login/b")], next="/notes"),
        "error": pages.error(code=text, message=text, reference=text, status=403, ways=EVERYWHERE, is_lost=True),
        "loop": pages.loop(reference=text, retry_url="/_jit/login"),
        "restart": pages.restart(reference=text, retry_url="/_jit/login"),
        "signed_out": pages.signed_out(login_url="/_jit/login"),
        "confirm_logout": pages.confirm_logout(
            action_url="/_jit/logout", token=text, form_targets=[], stay_url="/notes"
        ),
        "confirm_link": pages.confirm_link(
            action_url="/_jit/link/oidc", nonce=text, provider=text, is_wrong=True, form_targets=[]
        ),
        "invitation": pages.invitation(action_url="/_jit/link", nonce=text, provider=text, form_targets=[]),
    }


def header(response: Response, name: str) -> str:
    values = [value for key, value in response.headers if key.lower() == name.lower()]
    assert len(values) == 1, f"{name}: {values}"
    return values[0]


@pytest.fixture
def pages() -> Pages:
    return Pages(app_name="Notes", prefix_url="/_jit")


#: Their forms lead on to a provider, which may lead on to others.
LEAD_ON = frozenset({"confirm_link", "invitation"})


@pytest.mark.parametrize(
    "name", ["chooser", "error", "loop", "restart", "signed_out", "confirm_logout", "confirm_link", "invitation"]
)
class TestEveryPage:
    def test_is_well_formed_and_accessible(self, pages: Pages, name: str) -> None:
        response = every_page(pages)[name]
        document = Document(response.body)
        assert response.body.startswith(b"<!doctype html>")
        assert document.all("html") == [{"lang": "en"}]
        assert len(document.all("h1")) == len(document.all("main")) == len(document.all("title")) == 1
        assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in document.all("meta")
        assert {"charset": "utf-8"} in document.all("meta")
        assert all(svg["aria-hidden"] == "true" for svg in document.all("svg"))
        assert "Notes" in document.words

    def test_runs_no_script_and_loads_nothing(self, pages: Pages, name: str) -> None:
        document = Document(every_page(pages)[name].body)
        for tag, attributes in document.elements:
            assert tag not in {"script", "link", "img", "iframe", "object", "embed", "base", "use", "image"}
            assert not {
                attribute for attribute in attributes if attribute.startswith("on") or attribute in {"src", "style"}
            }
        assert "url(" not in document.style
        assert "@import" not in document.style

    def test_policy_allows_exactly_the_style_that_is_served(self, pages: Pages, name: str) -> None:
        response = every_page(pages)[name]
        served = re.search(rb"<style>(.*?)</style>", response.body, re.DOTALL)
        assert served is not None
        digest = base64.b64encode(hashlib.sha256(served[1]).digest()).decode()
        form = "'self' https:" if name in LEAD_ON else "'self'"
        assert header(response, "Content-Security-Policy") == (
            f"default-src 'none'; style-src 'sha256-{digest}'; form-action {form}; base-uri 'none'; frame-ancestors 'none'"
        )

    def test_is_neither_stored_nor_framed_nor_sniffed(self, pages: Pages, name: str) -> None:
        response = every_page(pages)[name]
        assert header(response, "Content-Type") == "text/html; charset=utf-8"
        assert header(response, "Cache-Control") == "no-store"
        assert header(response, "Vary") == "Cookie"
        assert header(response, "X-Content-Type-Options") == "nosniff"
        assert header(response, "X-Frame-Options") == "DENY"
        assert header(response, "Referrer-Policy") == "same-origin"

    def test_escapes_markup_in_every_variable(self, name: str) -> None:
        plain = Document(every_page(Pages(app_name="Notes", prefix_url="/_jit"))[name].body)
        evil = Document(every_page(Pages(app_name=EVIL, prefix_url="/_jit"), EVIL)[name].body)
        assert [tag for tag, _ in evil.elements] == [tag for tag, _ in plain.elements]
        assert [set(attributes) for _, attributes in evil.elements] == [
            set(attributes) for _, attributes in plain.elements
        ]
        assert " ".join(EVIL.split()) in evil.words

    def test_shows_undecodable_text_of_a_client(self, name: str) -> None:
        response = every_page(Pages(app_name="Notes \udcff", prefix_url="/_jit"), "bytes \udcff")[name]
        assert "Notes ?" in Document(response.body).words


def test_password_page_names_its_field_for_people_and_password_managers(pages: Pages) -> None:
    shown = pages.confirm_link(action_url="/l", nonce="n", provider="Corp", is_wrong=False, form_targets=[])
    asked = Document(shown.body)
    (field,) = [attributes for attributes in asked.all("input") if attributes.get("type") == "password"]
    assert (field["name"], field["autocomplete"]) == ("password", "current-password")
    assert {"for": field["id"]} in asked.all("label")
    assert (shown.status, "aria-invalid" in field) == (200, False)
    again = pages.confirm_link(action_url="/l", nonce="n", provider="Corp", is_wrong=True, form_targets=[])
    (field,) = [each for each in Document(again.body).all("input") if each.get("type") == "password"]
    assert (again.status, field["aria-describedby"]) == (403, "wrong")


def test_pages_that_lead_on_name_a_provider_without_tls(pages: Pages) -> None:
    to = ["http://127.0.0.1:9000/realms/x"]
    for page in (
        pages.confirm_link(action_url="/l", nonce="n", provider="p", is_wrong=False, form_targets=to),
        pages.invitation(action_url="/l", nonce="n", provider="p", form_targets=to),
    ):
        assert "form-action 'self' https: http://127.0.0.1:9000;" in header(page, "Content-Security-Policy")


def test_chooser_leads_each_choice_to_the_next_target(pages: Pages) -> None:
    choices = [("A", "/_jit/login/a"), ("B", "/_jit/login?connection=b"), ("C", "/c?next=/own")]
    links = Document(pages.chooser(choices, next="/notes?tag=ü&x=1").body).all("a")
    assert [link["href"] for link in links] == [
        "/_jit/login/a?next=/notes%3Ftag%3D%C3%BC%26x%3D1",
        "/_jit/login?connection=b&next=/notes%3Ftag%3D%C3%BC%26x%3D1",
        "/c?next=/own",
    ]


def test_chooser_without_a_next_target_leaves_the_urls_alone(pages: Pages) -> None:
    links = Document(pages.chooser([("A", "/a")], next="").body).all("a")
    assert [link["href"] for link in links] == ["/a"]


def test_chooser_without_choices_says_so(pages: Pages) -> None:
    response = pages.chooser([], next="/", status=503)
    assert response.status == 503
    assert "no way to sign in" in Document(response.body).words


def test_error_shows_code_sentence_reference_and_button(pages: Pages) -> None:
    response = pages.error(
        code="unavailable",
        message="Please try again.",
        reference="R-17",
        status=503,
        ways=Ways(retry="/_jit/login?next=/a&b=1"),
        headers=[("Retry-After", "5")],
    )
    document = Document(response.body)
    assert response.status == 503
    assert header(response, "Retry-After") == "5"
    assert all(part in document.words for part in ("unavailable", "Please try again.", "R-17", "Try again"))
    assert [link["href"] for link in document.all("a")] == ["/_jit/login?next=/a&b=1"]


def test_error_without_a_way_on_has_no_button(pages: Pages) -> None:
    response = pages.error(code="c", message="m", reference="r", status=405)
    assert Document(response.body).all("a") == []


def test_error_shows_the_best_way_on_first_and_that_one_stands_out(pages: Pages) -> None:
    links = Document(pages.error(code="c", message="m", reference="r", status=403, ways=EVERYWHERE).body).all("a")
    assert [link["href"] for link in links] == [
        EVERYWHERE.login,
        EVERYWHERE.retry,
        EVERYWHERE.someone_else,
        EVERYWHERE.home,
    ]
    assert [link["class"] for link in links] == ["button", "button plain", "button plain", "button plain"]
    (alone,) = Document(pages.error(code="c", message="m", reference="r", status=404, ways=Ways(home="/")).body).all(
        "a"
    )
    assert (alone["class"], alone["href"]) == ("button", "/")


@pytest.mark.parametrize(
    ("code", "status", "heading"),
    [
        ("account_pending", 403, "Your account is not open yet"),
        ("step_up_refused", 403, "You cannot open this page yet"),
        ("step_up_required", 401, "Please sign in once more"),
        ("login_required", 401, "Please sign in first"),
        ("not_provisioned", 403, "You were not let in"),
        ("bad_request", 405, "That did not work"),
        ("error", 500, "Something went wrong"),
    ],
)
def test_error_has_the_heading_of_its_code_or_else_of_its_status(
    pages: Pages, code: str, status: int, heading: str
) -> None:
    assert heading in Document(pages.error(code=code, message="m", reference="r", status=status).body).words


@pytest.mark.parametrize("url", ["javascript:alert(1)", "//evil.example", "/\\evil.example"])
@pytest.mark.parametrize("way", ["login", "retry", "someone_else", "home"])
def test_error_leads_nowhere_else(pages: Pages, way: str, url: str) -> None:
    with pytest.raises(ValueError, match="link"):
        pages.error(code="c", message="m", reference="r", status=403, ways=Ways(**{way: url}))


def test_restart_promises_the_page_that_was_wanted_only_where_it_is_known(pages: Pages) -> None:
    known = pages.restart(reference="r", retry_url="/again", leads_back=True)
    unknown = pages.restart(reference="r", retry_url="/again")
    assert "you come to the page that you wanted." in Document(known.body).words
    assert "you come to the front page of Notes." in Document(unknown.body).words


def test_loop_names_cookies_https_and_clock(pages: Pages) -> None:
    response = pages.loop(reference="R-18", retry_url="/again")
    words = Document(response.body).words
    assert response.status == 400
    assert all(part in words for part in ("Cookies are blocked", "https", "clock", "R-18", "login_loop"))


def test_confirmation_of_logout_posts_its_token_and_may_go_on_to_the_provider(pages: Pages) -> None:
    targets = ["https://IDP.example:8443/end?x=1", "https://idp.example:8443/other", "http://[::1]:9000/end"]
    response = pages.confirm_logout(action_url="/_jit/logout", token="t0k3n", form_targets=targets, stay_url="/a?b")
    document = Document(response.body)
    assert document.all("form") == [{"class": "actions", "method": "post", "action": "/_jit/logout"}]
    assert document.all("input") == [{"type": "hidden", "name": LOGOUT_TOKEN_FIELD, "value": "t0k3n"}]
    assert [link["href"] for link in document.all("a")] == ["/a?b"]
    policy = header(response, "Content-Security-Policy")
    assert "; form-action 'self' https://idp.example:8443 http://[::1]:9000; " in policy


def test_confirmation_for_a_session_that_is_over_says_so_and_has_one_button(pages: Pages) -> None:
    response = pages.confirm_logout(
        action_url="/_jit/logout", token="t0k3n", form_targets=[], is_over=True, stay_url="/"
    )
    document = Document(response.body)
    assert document.all("button") == [{"class": "button", "type": "submit"}]
    assert document.all("input") == [{"type": "hidden", "name": LOGOUT_TOKEN_FIELD, "value": "t0k3n"}]
    assert "is over already" in document.words
    assert "will end" not in document.words
    assert document.all("a") == []


@pytest.mark.parametrize(
    "target",
    [
        "javascript:alert(1)",
        "idp.example",
        "https://",
        "https://a b/",
        "https://a;script-src *",
        "https://a'x",
        "https://u@h",
        "//x",
    ],
)
def test_form_target_that_is_no_http_url_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="form target"):
        security_headers(form_targets=[target])


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "//evil.example", "/\\evil.example", "", "/a\nb", "data:text/html,x"]
)
def test_link_that_leads_elsewhere_is_refused(pages: Pages, url: str) -> None:
    with pytest.raises(ValueError, match="link"):
        pages.signed_out(login_url=url)


def test_json_error_says_the_same_as_the_page() -> None:
    response = json_error(
        code="login_required",
        message="Sign in ü.",
        reference="R-19",
        status=401,
        login_url="/_jit/login",
        headers=[("WWW-Authenticate", 'Bearer realm="x"')],
    )
    assert response.status == 401
    assert header(response, "Content-Type") == "application/json"
    assert header(response, "Cache-Control") == "no-store"
    assert header(response, "WWW-Authenticate") == 'Bearer realm="x"'
    assert json.loads(response.body) == {
        "error": "login_required",
        "message": "Sign in ü.",
        "reference": "R-19",
        "login_url": "/_jit/login",
    }


def test_json_error_without_login_url_does_not_name_one() -> None:
    assert set(json.loads(json_error(code="c", message="m", reference="r", status=403).body)) == {
        "error",
        "message",
        "reference",
    }


def test_redirect_is_not_stored_and_sets_cookies_in_order() -> None:
    cookies = [("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; Path=/")]
    response = redirect("https://idp.example/authorize?state=x%20y&n=1#f", status=303, cookies=cookies)
    assert (response.status, response.body) == (303, b"")
    assert header(response, "Location") == "https://idp.example/authorize?state=x%20y&n=1#f"
    assert header(response, "Cache-Control") == "no-store"
    assert [pair for pair in response.headers if pair[0] == "Set-Cookie"] == cookies


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("/café?q=ü b", "/caf%C3%A9?q=%C3%BC%20b"),
        ("/raw\udcff", "/raw%FF"),
        ('/a"<b>\\c', "/a%22%3Cb%3E%5Cc"),
        ("/already%2Fencoded", "/already%2Fencoded"),
    ],
)
def test_redirect_target_becomes_ascii(url: str, location: str) -> None:
    assert header(redirect(url), "Location") == location


@pytest.mark.parametrize("url", ["/a\r\nSet-Cookie: x=1", "/a\nb", "/\x00", "/\x7f", "/\ud800"])
def test_redirect_target_that_could_end_the_header_is_refused(url: str) -> None:
    with pytest.raises(RequestError) as refused:
        redirect(url)
    assert refused.value.reason == "redirect_target"


@pytest.mark.parametrize("pair", [("Set-Cookie", "a=1\r\nX: y"), ("Bad Name", "x"), ("", "x"), ("X", "\u20ac")])
def test_header_that_could_end_its_line_is_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=r"cannot be sent|codec"):
        redirect("/", cookies=[pair])
    with pytest.raises(ValueError, match=r"cannot be sent|codec"):
        json_error(code="c", message="m", reference="r", status=401, headers=[pair])


class TestOwnTemplates:
    def test_replace_ours_one_by_one(self, tmp_path: Path) -> None:
        (tmp_path / "signed_out.html").write_text(
            '{% extends "layout.html" %}{% block heading %}Tschüss{% endblock %}{% block main %}{{ prefix_url }}{% endblock %}',
            encoding="utf-8",
        )
        pages = Pages(app_name="Notes", prefix_url="/_jit", templates=str(tmp_path))
        assert "Tschüss" in Document(pages.signed_out(login_url="/").body).words
        assert "Please sign in once more" in Document(pages.restart(reference="r", retry_url="/").body).words

    @pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
    def test_own_style_is_allowed_by_its_own_hash(self, tmp_path: Path, newline: str) -> None:
        (tmp_path / "style.css").write_bytes(f"body {{{newline}  color: red;{newline}}}{newline}".encode())
        response = Pages(app_name="N", prefix_url="/_jit", templates=str(tmp_path)).signed_out(login_url="/")
        digest = base64.b64encode(hashlib.sha256(b"body {\n  color: red;\n}\n").digest()).decode()
        assert f"style-src 'sha256-{digest}'" in header(response, "Content-Security-Policy")
        assert Document(response.body).style == "body {\n  color: red;\n}\n"

    @pytest.mark.parametrize(
        ("name", "content", "problem"),
        [
            ("error.html", b"{{ no_such_name }}", "no_such_name"),
            ("error.html", b"{{ 1 if home_url else no_such_name }}", "no_such_name"),
            ("error.html", b"{{ no_such_name if home_url else 1 }}", "no_such_name"),
            ("error.html", b"{{ no_such_name if is_lost else 1 }}", "no_such_name"),
            ("restart.html", b"{{ no_such_name if leads_back else 1 }}", "no_such_name"),
            ("restart.html", b"{{ 1 if leads_back else no_such_name }}", "no_such_name"),
            ("confirm_logout.html", b"{{ no_such_name if is_over else 1 }}", "no_such_name"),
            ("confirm_link.html", b"{{ 1 if is_wrong else no_such_name }}", "no_such_name"),
            ("chooser.html", b"{{ 1 if choices else no_such_name }}", "no_such_name"),
            ("loop.html", b"{% if %}", "loop.html"),
            ("layout.html", b"\xff\xfe", "UnicodeDecodeError"),
            ("style.css", b"</STYLE ><script>", "markup"),
            ("style.css", b"\xff", "UTF-8"),
        ],
    )
    def test_that_cannot_be_rendered_are_a_configuration_error(
        self, tmp_path: Path, name: str, content: bytes, problem: str
    ) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigurationError) as refused:
            Pages(app_name="N", prefix_url="/_jit", templates=str(tmp_path))
        assert refused.value.faults[0].setting == "JIT_TEMPLATES"
        assert problem in str(refused.value)

    def test_missing_directory_is_a_configuration_error(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="not a directory"):
            Pages(app_name="N", prefix_url="/_jit", templates=str(tmp_path / "missing"))


# --- contrast, from the colours the style sheet names -------------------------------------------------------------


def colours() -> dict[str, dict[str, str]]:
    light, dark = re.findall(r":root \{(.*?)\}", (SHIPPED / "style.css").read_text(encoding="utf-8"), re.DOTALL)
    read: Callable[[str], dict[str, str]] = lambda block: dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))  # noqa: E731
    return {"light": read(light), "dark": read(dark)}


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    channels = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_formula_knows_black_on_white() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("front", "back", "least"),
    [
        ("text", "card", 4.5),
        ("text", "tint", 4.5),
        ("muted", "card", 4.5),
        ("muted", "ground", 4.5),
        ("on-accent", "accent", 4.5),
        ("on-accent", "accent-strong", 4.5),
        ("accent", "card", 3.0),
        ("accent", "ground", 3.0),
        ("accent", "tint", 3.0),
        ("edge", "card", 3.0),
    ],
)
def test_contrast_meets_wcag_aa(scheme: str, front: str, back: str, least: float) -> None:
    named = colours()[scheme]
    assert contrast(named[front], named[back]) >= least


def test_every_colour_of_the_style_is_one_of_the_named_and_focus_is_visible() -> None:
    sheet = (SHIPPED / "style.css").read_text(encoding="utf-8")
    rules = re.sub(r":root \{.*?\}", "", sheet, flags=re.DOTALL)
    assert set(re.findall(r"var\(--([a-z-]+)\)", rules)) <= set(colours()["light"])
    assert set(colours()["light"]) == set(colours()["dark"])
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b", rules) == []
    assert ":focus-visible { outline: 3px solid" in rules
    assert "outline: none" not in rules
