"""The guide to the pages is what a template really gets: names, variables, headings and messages, and its examples."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jinja2 import Environment, Template, meta

from jit_middleware.errors import ConfigurationError, JITError
from jit_middleware.gate import ForgedWrite
from jit_middleware.http.messages import Response
from jit_middleware.pages import Pages, Ways
from jit_middleware.testing.login import login_as
from jit_middleware.wsgi import JITMiddleware
from tests.client import Client
from tests.echo import echo_wsgi
from tests.examples.reasons import ROOT, codes
from tests.examples.test_docs import blocks, section

GUIDE = "docs/pages.md"
SHIPPED = ROOT / "jit_middleware" / "pages" / "templates"
ALWAYS = {"app_name", "prefix_url", "status", "style"}
WITHOUT_A_PAGE = {"layout.html", "facts.html", "style.css"}
_ROW = re.compile(r"^\| `([^`]+)` \| (.*?) \| (.*?) \|$", re.MULTILINE)


def every_page(pages: Pages) -> dict[str, Callable[[], Response]]:
    """How each template is rendered, by the methods that the endpoints call."""
    ways = Ways(login="/a", retry="/b", someone_else="/c", home="/d")
    return {
        "chooser.html": lambda: pages.chooser([("A", "/a")], next="/"),
        "error.html": lambda: pages.error(code="c", message="m", reference="r", status=403, ways=ways, is_lost=True),
        "restart.html": lambda: pages.restart(retry_url="/a", reference="r"),
        "loop.html": lambda: pages.loop(retry_url="/a", reference="r"),
        "signed_out.html": lambda: pages.signed_out(login_url="/a"),
        "confirm_logout.html": lambda: pages.confirm_logout(action_url="/a", token="t", form_targets=(), stay_url="/"),
        "confirm_login.html": lambda: pages.confirm_login(action_url="/a", person="p", provider="q", fields=()),
        "confirm_link.html": lambda: pages.confirm_link(
            action_url="/a", nonce="n", provider="p", is_wrong=True, form_targets=()
        ),
        "invitation.html": lambda: pages.invitation(action_url="/a", nonce="n", provider="p", form_targets=()),
        "post.html": lambda: pages.post(url="https://login.example.org/", fields=()),
    }


def documented() -> dict[str, set[str]]:
    """The variables of each template, as the guide has them."""
    rows = _ROW.findall(section(GUIDE, "The templates"))
    return {name: set(re.findall(r"`(\w+)`", variables)) for name, _, variables in rows if name.endswith(".html")}


# --- templates and variables ------------------------------------------------------------------------------------------


def test_every_template_is_listed_and_tried_at_start() -> None:
    there = {path.name for path in SHIPPED.iterdir()}
    assert set(documented()) == set(every_page(Pages(app_name="N", prefix_url="/_jit"))) == there - WITHOUT_A_PAGE
    for name in WITHOUT_A_PAGE:
        assert f"`{name}`" in section(GUIDE, "The templates")


@pytest.mark.parametrize("name", sorted(documented()))
def test_a_template_gets_the_variables_that_are_listed_and_no_others(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, set[str]] = {}
    render = Template.render

    def recorded(template: Template, *args: dict[str, object], **kwargs: object) -> str:
        given[str(template.name)] = set(dict(*args, **kwargs))
        return render(template, *args, **kwargs)

    monkeypatch.setattr(Template, "render", recorded)
    every_page(Pages(app_name="N", prefix_url="/_jit"))[name]()
    assert given == {name: documented()[name] | ALWAYS}


@pytest.mark.parametrize("name", sorted(documented()))
def test_a_template_of_ours_uses_what_is_listed(name: str) -> None:
    used = meta.find_undeclared_variables(Environment(autoescape=True).parse((SHIPPED / name).read_text("utf-8")))
    assert used - {"self"} <= documented()[name] | ALWAYS
    facts = {"code", "reference"}
    assert ("facts.html" in (SHIPPED / name).read_text("utf-8")) == (facts <= documented()[name])


def test_every_variable_is_explained() -> None:
    explained = {name for name, _ in re.findall(r"^\| `(\w+)` \| (.+) \|$", section(GUIDE, "The templates"), re.M)}
    assert explained == set().union(*documented().values()) | ALWAYS


@pytest.mark.parametrize("name", sorted(documented()))
def test_a_name_that_is_not_listed_is_a_fault_at_start(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("{{ no_such_variable }}")
    with pytest.raises(ConfigurationError, match="no_such_variable"):
        Pages(app_name="N", prefix_url="/_jit", templates=str(tmp_path))


def test_every_block_of_the_layout_is_named() -> None:
    layout = (SHIPPED / "layout.html").read_text("utf-8")
    named = re.search(r"fills in its blocks: (.*?)\.\n", section(GUIDE, "Your own"), re.DOTALL)
    assert named is not None
    there = set(re.findall(r"{% block (\w+)", layout))
    assert there <= set(re.findall(r"`(\w+)`", named[1]))


# --- headings and messages --------------------------------------------------------------------------------------------


def rows() -> dict[str, tuple[str, str]]:
    """Heading and message of each code, as the guide has them."""
    found = _ROW.findall(section(GUIDE, "Headings and messages"))
    return {code: (heading, message) for code, heading, message in found}


def classes(kind: type[JITError] = JITError) -> Iterator[type[JITError]]:
    yield kind
    for each in kind.__subclasses__():
        if each.__module__.startswith("jit_middleware"):
            yield from classes(each)


def test_every_code_that_error_html_shows_is_listed() -> None:
    assert ForgedWrite in set(classes())
    assert set(rows()) == codes() - {"login_loop"}  # which has a page of its own


@pytest.mark.parametrize(
    "kind",
    sorted({kind for kind in classes() if kind.code != "login_loop"}, key=lambda kind: kind.__name__),
    ids=lambda kind: kind.__name__,
)
def test_heading_and_message_of_a_code_are_those_that_are_shown(kind: type[JITError]) -> None:
    heading, message = rows()[kind.code]
    pages = Pages(app_name="N", prefix_url="/_jit")
    page = pages.error(code=kind.code, message=kind.public, reference="r", status=kind.status).body.decode()
    assert f"<h1>{heading}</h1>" in page
    assert message == kind.public


def test_heading_and_message_of_a_401_are_those_that_are_shown(
    five_variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JIT_STEP_UP", '[{"paths": ["/pay"], "acr": ["strong"]}]')
    with Client("wsgi", JITMiddleware, app=echo_wsgi) as client:
        shown = {"login_required": client.post("/pay").text}
        cookie = login_as(client.middleware, "s-1", preferred_username="alice")
        shown["step_up_required"] = client.post("/pay", headers={"Cookie": cookie}).text
    for code, page in shown.items():
        heading, message = rows()[code]
        assert f"<code>{code}</code>" in page
        assert f"<h1>{heading}</h1>" in page
        assert f"<p>{message} What you sent was not kept.</p>" in page


# --- the examples -----------------------------------------------------------------------------------------------------


@pytest.fixture
def german(tmp_path: Path) -> Pages:
    """Our pages with the templates of the guide over them."""
    for where, text in blocks("jinja"):
        named = re.match(r"{# (\w+\.html) #}\n", text)
        assert named is not None, where
        (tmp_path / named[1]).write_text(text, "utf-8")
    return Pages(app_name="Notizen", prefix_url="/_jit", templates=str(tmp_path))


def test_the_translation_speaks_german_where_it_has_the_words(german: Pages) -> None:
    page = german.error(
        code="login_required",
        message="You are not signed in.",
        reference="r",
        status=401,
        ways=Ways(login="/anmelden"),
        is_lost=True,
    ).body.decode()
    assert '<html lang="de">' in page
    assert "<title>Bitte melden Sie sich an – Notizen</title>" in page
    assert "<h1>Bitte melden Sie sich an</h1>" in page
    assert "nicht mehr angemeldet. Ihre Eingaben wurden nicht gespeichert.</p>" in page
    assert '<a class="button" href="/anmelden">Anmelden</a>' in page
    assert "You are not" not in page


def test_the_translation_leaves_other_sentences_and_pages_in_english(german: Pages) -> None:
    page = german.error(code="busy", message="Too many.", reference="r", status=503).body.decode()
    assert '<html lang="de">' in page
    assert "<h1>Not available right now</h1>" in page
    assert "<p>Too many.</p>" in page
    assert '<html lang="en">' in german.loop(reference="r", retry_url="/").body.decode()


def test_a_page_with_words_of_its_own_says_which_language_they_are_in(german: Pages) -> None:
    page = german.signed_out(login_url="/anmelden").body.decode()
    assert '<html lang="de">' in page
    assert "<title>Sie sind abgemeldet – Notizen</title>" in page


def test_the_codes_that_are_translated_exist() -> None:
    (translated,) = (text for _, text in blocks("jinja") if "set words" in text)
    assert set(re.findall(r'^  "(\w+)":', translated, re.MULTILINE)) <= set(rows())
