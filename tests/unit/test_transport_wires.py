"""A connection on an event loop: what came is read in order, what nobody reads is held back, and the end is told."""

from __future__ import annotations

import asyncio

import pytest
from httpcore2 import ReadError

from jit_middleware.transport.wires import Wire

PIECE = 65_536


class Socket(asyncio.Transport):
    """The event loop's side of a connection, which notes what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        self.unsent = 0

    def pause_reading(self) -> None:
        self.told.append("pause")

    def resume_reading(self) -> None:
        self.told.append("resume")

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.told.append("abort")


def connected() -> tuple[Wire, Socket]:
    wire, sock = Wire(), Socket()
    wire.connection_made(sock)
    return wire, sock


def test_what_came_is_read_in_order_and_in_bounded_pieces() -> None:
    async def story() -> list[int]:
        wire, _ = connected()
        wire.data_received(b"a" * PIECE)
        wire.data_received(b"b" * 3)
        first, second = await wire.read(), await wire.read()
        assert (first, second) == (b"a" * PIECE, b"bbb")
        return [len(first), len(second)]

    assert asyncio.run(story()) == [PIECE, 3]


def test_reader_that_waits_is_woken_by_bytes_and_by_the_end() -> None:
    async def story() -> list[bytes]:
        wire, _ = connected()
        first = asyncio.create_task(wire.read())
        await asyncio.sleep(0)
        wire.data_received(b"x")
        heard = [await first]
        last = asyncio.create_task(wire.read())
        await asyncio.sleep(0)
        wire.eof_received()
        heard.append(await last)
        return heard

    assert asyncio.run(story()) == [b"x", b""]


def test_failure_comes_after_the_bytes_before_it() -> None:
    async def story() -> bytes:
        wire, _ = connected()
        wire.data_received(b"answer")
        wire.connection_lost(ConnectionResetError())
        heard = await wire.read()
        with pytest.raises(ReadError):
            await wire.read()
        return heard

    assert asyncio.run(story()) == b"answer"


def test_flood_that_nobody_reads_is_held_back_until_it_is_read() -> None:
    async def story() -> list[str]:
        wire, sock = connected()
        for _ in range(3):
            wire.data_received(b"x" * PIECE)
        assert sock.told == ["pause"]
        for _ in range(3):
            assert sock.told == ["pause"], "the buffer is still full"
            await wire.read()
        return sock.told

    assert asyncio.run(story()) == ["pause", "resume"]


def test_only_a_connection_with_nothing_on_its_way_is_quiet() -> None:
    async def story() -> None:
        assert not Wire().is_quiet(), "it was never connected"
        wire, sock = connected()
        assert wire.is_quiet()
        sock.unsent = 1
        assert not wire.is_quiet()
        sock.unsent = 0
        wire.data_received(b"x")
        assert not wire.is_quiet()
        await wire.read()
        assert wire.is_quiet()
        wire.eof_received()
        assert not wire.is_quiet()
        assert wire.is_readable(), "without a socket nothing is to be hoped for"

    asyncio.run(story())


def test_reader_that_gives_up_leaves_the_connection_to_be_closed() -> None:
    async def story() -> list[str]:
        wire, sock = connected()
        waiting = asyncio.create_task(wire.read())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        wire.data_received(b"too late")
        wire.close()
        return sock.told

    assert asyncio.run(story()) == ["abort"]


def test_wire_that_was_ever_held_back_is_not_quiet_again() -> None:
    """What waits on the far side of the loop's next turn is not seen from here."""

    async def story() -> tuple[bool, bool]:
        wire, _ = connected()
        wire.data_received(b"x")
        await wire.read()
        before = wire.is_quiet()
        wire.data_received(b"y" * PIECE)
        await wire.read()
        return before, wire.is_quiet()

    assert asyncio.run(story()) == (True, False)
