"""The peers that the test environment lacks, installed on demand.

They go to a directory of their own under ``build/`` (ignored by git, gone with ``make clean``), pinned and without
their dependencies, which are in the test environment already. The directory comes last on the path: whatever the
environment has is what everybody uses.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
DIRECTORY = Path(__file__).parent.parent / "build" / "bench-peers"


def make_available() -> None:
    """Put the peers on ``sys.path``; the first time, and whenever the pins change, they are downloaded.

    Raises ``SystemExit`` with pip's words when they cannot be had.
    """
    stamp = DIRECTORY / "requirements.txt"
    wanted = REQUIREMENTS.read_text()
    if not stamp.is_file() or stamp.read_text() != wanted:
        print("installing the peers …", file=sys.stderr)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--upgrade", "--target", str(DIRECTORY), "--requirement", str(REQUIREMENTS)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"the peers cannot be installed: {done.stderr.strip()[-1000:]}")
        stamp.write_text(wanted)
    if str(DIRECTORY) not in sys.path:
        sys.path.append(str(DIRECTORY))
