"""A login, from the callback to the session cookie: CPU of our process, statements, and logins per second."""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from benchmarks import peers
from benchmarks.contestants import CLIENT_ID
from benchmarks.measure import H_MICROSECONDS, ROOT, cpu_of_tree
from benchmarks.postgres import durable_postgresql, fill, new_database, process_of
from benchmarks.table import Part, Row

_NAMES = {
    "flask_authlib": "Flask + Authlib + SQLAlchemy",
    "mozilla": "mozilla-django-oidc",
    "allauth": "django-allauth openid_connect",
}
_AT_LEAST = {"flask_authlib": 2.5, "mozilla": 8.0, "allauth": 10.0}
_BUDGET = 1.2e3 / H_MICROSECONDS
_SLICE = 0.5
_KNOWN = [f"known-{number}" for number in range(20)]
_PEOPLE = 10_000
"""Who is in each contestant's tables already: some of them look people up without an index."""


class Worker:
    """A contestant in its process. Every command is sent first and answered later, so that several run at once."""

    def __init__(self, name: str, issuer: str, database: str) -> None:
        command = [sys.executable, "-m", "benchmarks.worker", name, issuer, database]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self.cpu_ms: dict[str, list[float]] = {"returning": [], "first": []}
        self.cpu_h: dict[str, list[float]] = {"returning": [], "first": []}
        self.sent: dict[str, tuple[float, float]] = {}

    def __enter__(self) -> Self:
        self.answer()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def ask(self, **command: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a contestant died; its words are above")
        return json.loads(line)

    def sign_in(self, kind: str, subjects: Sequence[str]) -> None:
        """Note what one of these logins takes of the CPU, as the median over them."""
        self.ask(do="cpu", subjects=subjects)
        answer = self.answer()
        spent = statistics.median(answer["cpu_ns"])
        self.cpu_ms[kind].append(spent / 1e6)
        self.cpu_h[kind].append(spent / answer["h_ns"])

    def count(self, kind: str, subjects: Sequence[str]) -> None:
        """Note how many statements these logins send."""
        self.ask(do="count", subjects=subjects)
        answer = self.answer()
        self.sent[kind] = (answer["statements"] / len(subjects), answer["control"] / len(subjects))

    def warm_up(self) -> None:
        for _ in range(2):
            self.ask(do="cpu", subjects=_KNOWN)
            self.answer()

    def of(self, kind: str) -> float:
        """CPU milliseconds: the median over the rounds."""
        return statistics.median(self.cpu_ms[kind])

    def in_h(self, kind: str) -> float:
        """The same in H of this process, at that time."""
        return statistics.median(self.cpu_h[kind])

    def over(self, other: Worker, kind: str, other_kind: str | None = None) -> float:
        """How many times dearer, in H of the time: the median over the rounds."""
        pairs = zip(self.cpu_h[kind], other.cpu_h[other_kind or kind], strict=True)
        return statistics.median(mine / theirs for mine, theirs in pairs)


def run(*, quick: bool) -> list[Part]:
    """Ours on PostgreSQL and SQLite, its peers on PostgreSQL, all with the same provider."""
    peers.make_available()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="jit-bench-")))
        issuer = stack.enter_context(_provider())
        root = stack.enter_context(durable_postgresql())
        urls = {name: new_database(root, name) for name in ("ours", "large", *_NAMES)}
        urls["sqlite"] = f"sqlite:///{directory / 'login.db'}"
        workers = {
            name: stack.enter_context(Worker("ours" if name in ("large", "sqlite") else name, issuer, url))
            for name, url in urls.items()
        }
        for worker in workers.values():
            worker.warm_up()
        users = 100_000 if quick else 1_000_000
        for name in ("ours", "large", *_NAMES):
            fill(root, name, users if name == "large" else _PEOPLE)
        workers["large"].warm_up()
        _measure(workers, rounds=4 if quick else 8)
        throughput = _throughput(workers, issuer, urls, process_of(root), rounds=9 if quick else 18)
        return [_cost(workers, users), _rates(throughput)]


def _measure(workers: dict[str, Worker], *, rounds: int) -> None:
    fresh = (f"new-{number}" for number in itertools.count())
    for _ in range(rounds):
        for worker in workers.values():
            worker.sign_in("returning", _KNOWN)
            worker.sign_in("first", list(itertools.islice(fresh, len(_KNOWN))))
    for worker in workers.values():
        worker.count("returning", _KNOWN)
        worker.count("first", list(itertools.islice(fresh, len(_KNOWN))))


@dataclass(frozen=True, slots=True)
class Throughput:
    """One contestant's whole logins in one round: how many a second, and what one of them took of the CPU."""

    rate: float
    application_ms: float
    database_ms: float


def _throughput(
    workers: dict[str, Worker], issuer: str, urls: dict[str, str], database: int, *, rounds: int
) -> dict[str, list[Throughput]]:
    """Whole logins of people who are known, by two processes of each contestant; the contestants in turn."""
    names = ("ours", *_NAMES)
    found: dict[str, list[Throughput]] = {name: [] for name in names}
    with ExitStack() as stack:
        pairs = {name: (workers[name], stack.enter_context(Worker(name, issuer, urls[name]))) for name in names}
        for _, second in pairs.values():
            second.warm_up()
        for _ in range(rounds):
            for name, pair in pairs.items():
                before = cpu_of_tree(database)
                for number, worker in enumerate(pair):
                    worker.ask(do="rate", subjects=_KNOWN[number * 10 : number * 10 + 10], seconds=_SLICE)
                answers = [worker.answer() for worker in pair]
                logins = sum(answer["logins"] for answer in answers)
                found[name].append(
                    Throughput(
                        sum(answer["logins"] / answer["seconds"] for answer in answers),
                        sum(answer["cpu_ns"] for answer in answers) / logins / 1e6,
                        (cpu_of_tree(database) - before) / logins / 1e6,
                    )
                )
    return found


def _rates(found: dict[str, list[Throughput]]) -> Part:
    """What is judged is the ratio within the rounds: a contestant's neighbours in time are on the same machine."""
    rows: list[Row] = []
    for name, title in {"ours": "ours", **_NAMES}.items():
        pairs = list(zip(found["ours"], found[name], strict=True))
        application = statistics.median(mine.application_ms for _, mine in pairs)
        database = statistics.median(mine.database_ms for _, mine in pairs)
        rate = statistics.median(mine.rate for _, mine in pairs)
        dearer = statistics.median(_of(mine) / _of(ours) for ours, mine in pairs)
        slower = statistics.median(ours.rate / mine.rate for ours, mine in pairs)
        is_peer = name != "ours"
        at_least = _AT_LEAST[name] if is_peer else None
        rows += [
            Row(f"{title}, CPU of application and database", application + database, "ms",
                dearer if is_peer else None, "x ours", at_least=at_least),
            Row(f"{title}, of it the database", database, "ms"),
            Row(f"{title}, logins per second, all on these cores", rate, "/s",
                slower if is_peer else None, "x by ours"),
        ]  # fmt: skip
    people = f"{_PEOPLE:,}".replace(",", " ")
    return Part(
        f"Login: whole logins, two processes of each, {people} people known to each",
        rows,
        [
            "judged is how many logins a second of CPU is good for; those per second of the clock include browser and",
            "provider, whose share (an RSA signature for each) is the greater the cheaper the contestant is",
        ],
    )


def _of(one: Throughput) -> float:
    return one.application_ms + one.database_ms


def _cost(workers: dict[str, Worker], users: int) -> Part:
    ours, sqlite, large = workers["ours"], workers["sqlite"], workers["large"]
    many = f"{users:,} users and sessions".replace(",", " ")
    rows = [
        Row("returning user, PostgreSQL", ours.of("returning"), "ms", ours.in_h("returning"), "H", at_most=_BUDGET),
        Row("first login, PostgreSQL", ours.of("first"), "ms",
            ours.over(ours, "first", "returning"), "x returning", at_most=1.3),
        _trips("returning", ours, 2),
        _trips("first", ours, 4),
        Row(f"returning user among {many}", large.of("returning"), "ms",
            large.over(ours, "returning"), "x few", at_most=1.2),
        Row(f"first login among {many}", large.of("first"), "ms",
            large.over(ours, "first"), "x few", at_most=1.2),
        Row("returning user, SQLite", sqlite.of("returning"), "ms"),
        Row("first login, SQLite", sqlite.of("first"), "ms"),
    ]  # fmt: skip
    for name, title in _NAMES.items():
        peer = workers[name]
        rows += [
            Row(f"{title}, {kind}", peer.of(kind), "ms", peer.over(ours, kind), "x ours")
            for kind in ("returning", "first")
        ]
        statements = f"{title}, statements returning / first"
        rows.append(Row(statements, sum(peer.sent["returning"]), f"/ {sum(peer.sent['first']):.1f}"))
    return Part("Login: callback to session cookie, CPU of the application's process", rows, [
        "PostgreSQL with durable commits; each among 10 000 people, ours among many more as well",
        "statements are those that a driver is given: the BEGIN and COMMIT that it adds by itself come on top (2 for",
        "Flask, 6 for the others, none for ours)",
    ])  # fmt: skip


def _trips(kind: str, worker: Worker, at_most: float) -> Row:
    statements, control = worker.sent[kind]
    return Row(f"statements, {kind}, beside {control:.1f} BEGIN or COMMIT", statements, "", at_most=at_most)


@contextmanager
def _provider() -> Iterator[str]:
    """The issuer of a provider in its own process."""
    command = [sys.executable, "-m", "benchmarks.stub", CLIENT_ID]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()
