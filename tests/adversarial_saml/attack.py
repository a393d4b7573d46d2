"""One attack: how its message is made, and the name under which it must be refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from jit_middleware.sso.saml.reasons import Reason
from tests.adversarial_saml.mint import Edit, Element, minted, one, posted


@dataclass(frozen=True)
class Attack:
    """``make`` gives the form field; ``told`` differs from the usual expectations."""

    name: str
    make: Callable[[], str]
    reason: Reason
    told: Mapping[str, object] = field(default_factory=dict)


def signed_so(name: str, edit: Edit, reason: Reason, *, sign: str = "assertion", **told: object) -> Attack:
    """What the provider itself says and signs."""
    return Attack(name, lambda: posted(minted(sign=sign, edit=edit)), reason, told)


def changed_later(name: str, edit: Edit, reason: Reason, *, sign: str = "assertion", **told: object) -> Attack:
    """What somebody makes of it on the way."""
    return Attack(name, lambda: posted(minted(sign=sign, after=edit)), reason, told)


def on_bytes(name: str, change: Callable[[bytes], bytes], reason: Reason, **told: object) -> Attack:
    """What somebody makes of its bytes."""
    return Attack(name, lambda: posted(change(minted())), reason, told)


def put(path: str, **attributes: str | None) -> Edit:
    """Set XML attributes of the one element at ``path`` (``.`` is the Response); ``None`` takes one away."""

    def edit(root: Element) -> None:
        element = root if path == "." else one(root, path)
        for name, value in attributes.items():
            if value is None:
                element.attrib.pop(name, None)
            else:
                element.set(name, value)

    return edit


def say(path: str, text: str) -> Edit:
    """Set the text of the one element at ``path``."""

    def edit(root: Element) -> None:
        one(root, path).text = text

    return edit


def drop(path: str) -> Edit:
    """Take the one element at ``path`` away."""

    def edit(root: Element) -> None:
        element = one(root, path)
        parent = element.getparent()
        assert parent is not None
        parent.remove(element)

    return edit


def both(*edits: Edit) -> Edit:
    """One edit after the other."""

    def edit(root: Element) -> None:
        for each in edits:
            each(root)

    return edit
