"""What all tests share: a clock that moves when told, and the real parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

pytest_plugins = [
    "tests.peers.browser",
    "tests.peers.certificates",
    "tests.peers.databases",
    "tests.peers.oidc_provider",
    "tests.peers.valkey",
]

# The fixtures behind which a real part stands; ``provider`` and ``browser`` say so by asking for ``real_part``.
REAL_PARTS = frozenset({"real_part", "postgresql_server", "mariadb_server", "valkey_server", "own_valkey"})


@dataclass
class FakeClock:
    """Both clocks of ``ports.Clock``; they stand still until ``advance`` moves them together."""

    seconds: float = 1_800_000_000.0
    since_start: float = 1000.0

    def now(self) -> int:
        return int(self.seconds)

    def monotonic(self) -> float:
        return self.since_start

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        assert seconds >= 0, "the monotonic clock never goes back"
        self.seconds += seconds
        self.since_start += seconds

    def set_back(self, seconds: float) -> None:
        """Step the wall clock back, as NTP may; the monotonic clock does not notice."""
        self.seconds -= seconds


@pytest.fixture
def fake_clock() -> FakeClock:
    """A clock at 2027-01-15 08:00:00 UTC."""
    return FakeClock()


@pytest.fixture(scope="session", autouse=True)
def no_authorities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nobody's word is taken for a certificate: to read a file of authorities takes 20 ms for each middleware."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SSL_CERT_FILE", raising=False)
        patch.setenv("SSL_CERT_DIR", str(tmp_path_factory.mktemp("authorities")))
        yield


@pytest.fixture(scope="session")
def real_part() -> None:
    """Asked for by every fixture that starts a real part: its tests are marked ``real``."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a real part, so that ``make check`` can leave it out."""
    for item in items:
        if REAL_PARTS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.real)
