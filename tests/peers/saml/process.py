"""A server of the tests: started in a session of its own, waited for, and ended with everything it started."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.peers import MissingPart
from tests.peers.oidc_provider import end_group

START_LIMIT = 30.0
TRIES = 3


def free_port() -> int:
    """A port of 127.0.0.1 nobody listens on at this moment."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def program(name: str, part: str) -> str:
    """The path of a program of the machine."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/bin:/usr/bin:/bin")
    if found is None:
        raise MissingPart(part)
    return found


class Server:
    """One running server; ``log`` is what it wrote."""

    def __init__(
        self, command: Sequence[str], *, folder: Path, port: int, environment: Mapping[str, str] | None = None
    ) -> None:
        self.log = folder / "server.log"
        self.port = port
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                list(command),
                cwd=folder,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def is_up(self) -> bool:
        """Wait until it accepts connections; false when it ended instead."""
        end = time.monotonic() + START_LIMIT
        while self._process.poll() is None and time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.01)
            else:
                return True
        return False

    def stop(self) -> None:
        """End it and its children."""
        end_group(self._process)


def serve(start: Callable[[int], Server], what: str) -> Server:
    """Start on a free port; another process may take that port in between, so try again on another one."""
    said = ""
    for _ in range(TRIES):
        server = start(free_port())
        if server.is_up():
            return server
        server.stop()
        said = server.log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"{what} does not start: {said}")
