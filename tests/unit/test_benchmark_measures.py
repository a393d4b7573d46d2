"""How the benchmarks compare: within a round, and without one contestant leaving anything to the next."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from benchmarks import loops
from benchmarks.measure import Times
from benchmarks.traffic import with_others

COOKIE = with_others("jit=none")


def test_ratio_is_taken_within_the_round_so_that_a_slow_spell_decides_nothing() -> None:
    times = Times({"bare": [10, 30, 10], "ours": [12, 36, 12], "theirs": [30, 90, 30], "H": [1, 3, 1]})
    assert times.of("ours", "bare") == 2
    assert times.ratio(("theirs", "bare"), ("ours", "bare")) == 10
    assert times.ratio(("ours", "bare"), ("H",)) == 2


def test_what_is_added_to_a_bare_answer_is_gone_with_it() -> None:
    seen: list[int] = []

    def wsgi(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        def noted(status: str, headers: list[tuple[str, str]]) -> Any:
            headers.append(("Vary", "Cookie"))
            seen.append(len(headers))
            return start_response(status, headers)

        return loops.bare_wsgi(environ, noted)

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        async def noted(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"vary", b"cookie"))
                seen.append(len(message["headers"]))
            await send(message)

        await loops.bare_asgi(scope, receive, noted)

    loops.wsgi(wsgi, [COOKIE], calls=3).run()
    assert seen == [3, 3, 3]
    seen.clear()
    with asyncio.Runner() as runner:
        loops.asgi(runner, asgi, [COOKIE], calls=3).run()
    assert seen == [2, 2, 2]


def test_first_request_is_not_measured_and_comes_before_what_a_round_prepares() -> None:
    told: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        told.append("asked")
        return loops.bare_wsgi(environ, start_response)

    contestant = loops.wsgi(app, [COOKIE], calls=2, before=lambda: told.append("forgotten"))
    assert contestant.before is not None
    contestant.before()
    assert told == ["asked", "forgotten"]
    contestant.run()
    assert told == ["asked", "forgotten", "asked", "asked"]
    assert contestant.calls == 2
