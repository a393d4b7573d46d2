"""How often a provider's keys may be fetched out of turn, so that tokens cannot be turned against the provider.

A token that names a key we do not have makes us ask the provider once more, since it may have changed its keys (OIDC
Core §10.1.1). Whoever can send us such tokens could make us ask without end; whoever uses up what we may ask keeps a
new key from us. So there are two budgets. One is for tokens that the provider itself handed us in answer to a login of
ours, which a stranger cannot produce. The other is for what anybody may push at us: strangers can empty it, and then
delay a pushed token with a new key, whose sender is asked to come again, and never a login. Emptied, it still lets us
ask once in 15 seconds: the keys are no older than that as long as somebody goes on, and ours are the provider's again
without anybody's help when they stop.

A token that names a key costs nothing when we have that key, or when the provider's keys lacked it less than half a
minute ago: sent again and again, it never empties a budget. The name is not remembered for longer, because some
providers sign with a key shortly before they show it everywhere. A token that names none, and that none of our keys has
signed, costs a fetch each time: there is no name to know it by, and the provider's next key may have none either. A
fetch that fails is not given back, but its name may be looked for again at once.
"""

from __future__ import annotations

from typing import Final

from jit_middleware.ports import Clock

AT_ONCE: Final = 5
ONE_MORE_AFTER: Final = 15.0
LACKING_FOR: Final = 30.0


class FetchBudget:
    """Fetches out of turn for one kind of token: a few at once, then one in a while. Seconds are monotonic ones.

    :meth:`take` is called by one at a time.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._left = float(AT_ONCE)
        self._counted_at = clock.monotonic()
        self._looked_for: dict[str, float] = {}

    def take(self, kid: str | None) -> bool:
        """Whether the keys may be fetched now for a token that names this key, or none; if so, it is counted."""
        now = self._clock.monotonic()
        looked_for_at = None if kid is None else self._looked_for.get(kid)
        if looked_for_at is not None and now < looked_for_at + LACKING_FOR:
            return False
        self._left = min(float(AT_ONCE), self._left + (now - self._counted_at) / ONE_MORE_AFTER)
        self._counted_at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        # Each name here has cost a fetch, so there are few of them.
        recent = {name: at for name, at in self._looked_for.items() if now < at + LACKING_FOR}
        self._looked_for = recent if kid is None else {**recent, kid: now}
        return True

    def forget(self, kid: str | None) -> None:
        """The fetch failed or was broken off, so nothing is known of this key: it may be looked for again."""
        self._looked_for = {name: at for name, at in self._looked_for.items() if name != kid}
