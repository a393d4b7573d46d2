"""Workers that tell each other through Redis or Valkey what they have committed, so that nobody waits for the bound.

The rule: what comes through Redis is a hint. It can make a worker ask the ledger sooner, or refuse a used key sooner;
it can never let anybody in, and nothing is wrong when it does not come.
"""

from __future__ import annotations

from jit_middleware_redis.neighbours import RedisNeighbours
from jit_middleware_redis.wire import problem_with

__all__ = ["RedisNeighbours", "problem_with"]
