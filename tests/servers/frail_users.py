"""An application's own users, in a worker that dies just when it has made one: of every third person, once.

``JIT_USER_STORE=tests.servers.frail_users:FrailUsers``, with the directory of its notes in ``FRAIL_USERS``; a note
``calm`` there ends it.
"""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

from examples.custom_user_store import ShopUsers
from jit_middleware import Profile, User


class FrailUsers(ShopUsers):
    """The store of the example; ``create`` returns to nobody the first time."""

    def create(self, profile: Profile) -> User:
        made = super().create(profile)
        note = Path(os.environ["FRAIL_USERS"]) / hashlib.sha256(profile.provisioning_key.encode()).hexdigest()
        if int(note.name, 16) % 3 == 0 and not note.exists() and not note.with_name("calm").exists():
            note.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return made
