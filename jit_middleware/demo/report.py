"""What a walk through the demo tells: steps made of facts, as text for people or JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import field
from typing import Final, TextIO

from jit_middleware.records import dataclass

_WIDTH: Final = 34


class Broken(Exception):
    """A step went so wrong that the next one makes no sense."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing seen. ``ok`` says whether it is as it must be; ``None``: told, not judged."""

    what: str
    seen: str
    ok: bool | None


@dataclass(slots=True)
class Step:
    """One step of a walk, growing while it is taken."""

    title: str
    tell: Callable[[Fact], None] = field(repr=False)
    facts: list[Fact] = field(default_factory=list[Fact])

    def check(self, what: str, seen: object, ok: bool) -> None:
        """Something that must hold."""
        self._add(Fact(what, str(seen), ok))

    def need(self, what: str, seen: object, ok: bool) -> None:
        """Something that must hold for the walk to go on; raises ``Broken`` when it does not."""
        self.check(what, seen, ok)
        if not ok:
            raise Broken(what)

    def note(self, what: str, seen: object) -> None:
        """Something worth knowing."""
        self._add(Fact(what, str(seen), None))

    def _add(self, fact: Fact) -> None:
        self.facts.append(fact)
        self.tell(fact)


class Report:
    """Collects the steps; as text each line is written the moment it is known."""

    def __init__(self, out: TextIO, *, as_json: bool) -> None:
        self._out = out
        self._as_json = as_json
        self._steps: list[Step] = []
        plain = not _can_show("✓✗·→", out)
        self._marks = {True: "ok" if plain else "✓", False: "FAILED" if plain else "✗", None: "-" if plain else "·"}

    def step(self, title: str) -> Step:
        step = Step(title, self._tell)
        self._steps.append(step)
        self.say(f"\n{len(self._steps)}. {title}")
        return step

    def say(self, line: str) -> None:
        """A line of text; nothing in JSON."""
        if not self._as_json:
            print(_shown(line, self._out), file=self._out, flush=True)

    @property
    def failures(self) -> list[Fact]:
        return [fact for step in self._steps for fact in step.facts if fact.ok is False]

    def close(self) -> bool:
        """Write the verdict; true when everything was as it must be."""
        judged = [fact for step in self._steps for fact in step.facts if fact.ok is not None]
        good = bool(judged) and not self.failures
        if self._as_json:
            steps = [
                {"title": step.title, "facts": [{"what": f.what, "seen": f.seen, "ok": f.ok} for f in step.facts]}
                for step in self._steps
            ]
            print(json.dumps({"ok": good, "steps": steps}, indent=2), file=self._out, flush=True)
        elif good:
            self.say(f"\nAll {len(judged)} checks hold.")
        else:
            self.say(
                f"\n{len(self.failures)} of {len(judged)} checks FAILED: " + "; ".join(f.what for f in self.failures)
            )
        return good

    def _tell(self, fact: Fact) -> None:
        self.say(f"   {self._marks[fact.ok]} {fact.what:<{_WIDTH}} {fact.seen}".rstrip())


def _can_show(text: str, out: TextIO) -> bool:
    try:
        text.encode(out.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _shown(text: str, out: TextIO) -> str:
    return text if _can_show(text, out) else text.encode("ascii", "backslashreplace").decode("ascii")
