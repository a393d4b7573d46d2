"""A connection on an event loop: what came is read in order, what nobody reads is held back, and the end is told."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from httpcore2 import ReadError

from jit_middleware.transport.wires import Wire
from tests.peers.certificates import Certificates

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


@pytest.fixture
def deaf_server(certificates: Certificates) -> Iterator[int]:
    """The port of a TLS server that does not answer a goodbye."""
    closing = threading.Event()

    def shake_hands(accepted: socket.socket) -> None:
        with suppress(OSError), certificates.server_context().wrap_socket(accepted, server_side=True):
            closing.wait(30)

    def accept() -> None:
        with suppress(OSError):
            while True:
                accepted, _ = listener.accept()
                threading.Thread(target=shake_hands, args=(accepted,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        closing.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def test_wire_that_is_broken_off_leaves_nothing_registered_with_the_loop(
    deaf_server: int, certificates: Certificates
) -> None:
    """Whenever the deadline comes, also in the very turn in which the handshake ends: the number of its socket is
    somebody else's next."""

    async def story() -> int:
        loop = asyncio.get_running_loop()
        broken_off = 0
        for turn in range(100):
            plain = await Wire.connect("127.0.0.1", deaf_server, 5)
            number = plain.fileno()
            try:
                async with asyncio.timeout(turn % 25 * 0.0002):
                    wire = await Wire.over(plain, certificates.client_context(), "localhost")
            except TimeoutError:
                broken_off += 1
                for _ in range(3):
                    await asyncio.sleep(0)
                assert plain.fileno() == -1
                assert not loop.remove_reader(number)
            else:
                wire.close()
                await asyncio.sleep(0)
        return broken_off

    assert asyncio.run(story()) > 0
