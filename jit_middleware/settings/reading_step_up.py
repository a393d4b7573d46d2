"""From what the sources say about step-up to rules, and what does not fit together among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jit_middleware.settings.reading import Reading
from jit_middleware.settings.step_up import StepUpRule, covers
from jit_middleware.settings.table import STEP_UP


def read_step_up(reading: Reading, prefix: str) -> tuple[StepUpRule, ...]:
    """The rules; a path of our own (below ``prefix``) and rules that no session can satisfy at once are noted."""
    rules = reading.take(STEP_UP)
    for pattern in dict.fromkeys(pattern for rule in rules for pattern in rule.paths):
        place = pattern.removesuffix("/*")
        if place == prefix or place.startswith(f"{prefix}/"):
            problem = f"{pattern!r} lies below our own URLs ({prefix}), which no rule is asked for."
            reading.note(reading.name(STEP_UP), problem, "remove it, or move our URLs with JIT_ENDPOINT_PREFIX.")
        elif _is_impossible(_meant_by(rules, place)):
            problem = f"several rules hold for {pattern!r}, and no acr is named by all of them."
            fix = "every rule for a path has to hold: name the stronger acr in the rule of the wider path as well."
            reading.note(reading.name(STEP_UP), problem, fix)
    return rules


def _meant_by(rules: Sequence[StepUpRule], place: str) -> Iterator[tuple[str, ...]]:
    folded = place.casefold() or "/"
    for rule in rules:
        if rule.acr and any(covers(pattern.casefold(), folded) for pattern in rule.paths):
            yield rule.acr


def _is_impossible(acrs: Iterator[tuple[str, ...]]) -> bool:
    named = list(acrs)
    return bool(named) and not any(all(acr in others for others in named) for acr in named[0])
