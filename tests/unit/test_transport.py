"""The way out, against real servers on this machine that misbehave; both shells must judge alike."""

from __future__ import annotations

import asyncio
import datetime
import gc
import gzip
import ipaddress
import os
import socket
import ssl
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from jit_middleware.errors import ProviderUnavailable
from jit_middleware.ports import Fetch
from jit_middleware.transport import AsyncTransport, SyncTransport

pytestmark = pytest.mark.slow

HERE = {"127.0.0.1", "localhost", "::1"}


class RealClock:
    def now(self):
        return int(time.time())

    def monotonic(self):
        return time.monotonic()


class Wire:
    """One transport of either kind, driven by plain calls."""

    def __init__(self, kind, **rules):
        rules = {"insecure_hosts": HERE, "private_hosts": HERE} | rules
        self.loop = asyncio.new_event_loop() if kind is AsyncTransport else None
        self.transport = kind(RealClock(), **rules)

    def run(self, coroutine):
        if self.loop is not None:
            return self.loop.run_until_complete(coroutine)
        with pytest.raises(StopIteration) as done:
            coroutine.send(None)
        return done.value.value

    def fetch(self, url, method="GET", body=None, **how):
        if self.loop is not None:
            return self.loop.run_until_complete(self.transport.fetch(Fetch(url, method, body=body, **how)))
        coroutine = self.transport.fetch(Fetch(url, method, body=body, **how))
        try:
            coroutine.send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("it waited")

    def refusal(self, url, *args, **how):
        with pytest.raises(ProviderUnavailable) as caught:
            self.fetch(url, *args, **how)
        return caught.value.reason

    def close(self):
        self.run(self.transport.close())
        if self.loop is not None:
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()


@pytest.fixture(params=[SyncTransport, AsyncTransport], ids=["threads", "event loop"])
def kind(request):
    return request.param


@pytest.fixture
def wire(kind):
    made = Wire(kind)
    yield made
    made.close()


class Server:
    """Accepts connections and hands each to ``behave(connection, number)`` in a thread."""

    def __init__(self, behave, family=socket.AF_INET):
        self.behave = behave
        self.connections = 0
        self.requests = []
        self.open = []
        self.socket = socket.create_server(("127.0.0.1" if family == socket.AF_INET else "::1", 0), family=family)
        self.port = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/x"
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            self.open.append(connection)
            threading.Thread(target=self.serve, args=(connection, self.connections), daemon=True).start()

    def serve(self, connection, number):
        with suppress(OSError, ValueError):
            self.behave(connection, number)

    def read(self, connection):
        """One request: head and body as bytes; ``ValueError`` when the client has gone."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                raise ValueError
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        while len(body) < length:
            body += connection.recv(65536)
        self.requests.append((head.decode(), body))
        return head, body

    def close(self):
        # Closed only, it would go on listening for as long as the thread waits for somebody to come.
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)
        self.socket.close()
        for connection in self.open:
            connection.close()


@pytest.fixture
def serve():
    with ExitStack() as stack:

        def start(behave, **how):
            server = Server(lambda connection, number: behave(server, connection, number), **how)
            stack.callback(server.close)
            return server

        yield start


def reply(body=b"{}", status=200, *headers):
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def polite(server, connection, number):
    while True:
        server.read(connection)
        connection.sendall(reply())


def once(data, then=None):
    def behave(server, connection, number):
        server.read(connection)
        connection.sendall(data)
        if then:
            then(connection)

    return behave


def test_get_and_post_go_over_one_kept_connection(wire, serve):
    server = serve(polite)
    assert wire.fetch(server.url).body == b"{}"
    answer = wire.fetch(server.url + "?q=1", "POST", b"a=b", headers={"Content-Type": "text/x"})
    assert (answer.status, answer.headers["content-length"]) == (200, "2")
    assert server.connections == 1
    (first, _), (second, body) = server.requests
    assert first.startswith("GET /x HTTP/1.1")
    assert "accept-encoding: identity" in first.lower()
    assert "user-agent: jit-middleware" in first.lower()
    assert f"host: 127.0.0.1:{server.port}" in first.lower()
    assert second.startswith("POST /x?q=1 HTTP/1.1")
    assert body == b"a=b"
    assert second.lower().count("content-type: text/x") == 1


def test_no_cookie_comes_back(wire, serve):
    def behave(server, connection, number):
        while True:
            server.read(connection)
            connection.sendall(reply(b"{}", 200, "Set-Cookie: a=b", "X-Twice: 1", "x-twice: 2"))

    server = serve(behave)
    assert wire.fetch(server.url).headers["x-twice"] == "1, 2"
    wire.fetch(server.url)
    assert all("cookie" not in head.lower() for head, _ in server.requests)


def test_environment_names_no_proxy(kind, serve, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    wire = Wire(kind)
    assert wire.fetch(serve(polite).url).status == 200
    wire.close()


def test_configured_proxy_is_used_with_its_login(kind, serve):
    server = serve(polite)
    wire = Wire(kind, proxy=f"http://us%40er:pw@127.0.0.1:{server.port}", private_hosts=())
    assert wire.refusal("http://127.0.0.1:1/x") == "url_forbidden"
    wire.close()
    wire = Wire(kind, proxy=f"http://us%40er:pw@127.0.0.1:{server.port}")
    assert wire.fetch("http://localhost:1/x").status == 200
    assert server.requests[0][0].startswith("GET http://localhost:1/x")
    assert "proxy-authorization: basic dxnAzxi6chc=".lower() in server.requests[0][0].lower()
    wire.close()


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308, 399])
def test_redirect_is_not_followed(wire, serve, status):
    server = serve(once(reply(b"", status, "Location: http://127.0.0.1:1/")))
    assert wire.refusal(server.url) == "redirected"
    assert server.connections == 1


@pytest.mark.parametrize("status", [400, 401, 404, 500])
def test_other_statuses_are_handed_over(wire, serve, status):
    assert wire.fetch(serve(once(reply(b'{"error":"x"}', status))).url).status == status


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "x-any", "identity, gzip"])
def test_encoded_body_is_refused_unread(wire, serve, encoding):
    bomb = gzip.compress(b"0" * 50_000_000)
    server = serve(once(reply(bomb, 200, f"Content-Encoding: {encoding}")))
    assert wire.refusal(server.url) == "encoded"


def test_identity_encoding_is_lawful(wire, serve):
    assert wire.fetch(serve(once(reply(b"{}", 200, "Content-Encoding: Identity"))).url).body == b"{}"


def test_announced_gigabyte_is_refused_at_once(wire, serve):
    server = serve(once(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n"))
    assert wire.refusal(server.url) == "too_large"


def endless(piece):
    def send(connection):
        while True:
            connection.sendall(piece)

    return send


def test_endless_body_is_cut_at_the_cap(wire, serve):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server = serve(once(head, endless(b"10000\r\n" + b"a" * 65536 + b"\r\n")))
    assert wire.refusal(server.url) == "too_large"


def test_body_of_exactly_the_cap_is_read_and_one_byte_more_is_not(wire, serve):
    server = serve(
        lambda server, connection, number: (
            server.read(connection),
            connection.sendall(b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n" + b"a" * 1001),
            connection.close(),
        )
    )
    assert wire.refusal(server.url, max_bytes=1000) == "too_large"
    assert len(wire.fetch(server.url, max_bytes=1001).body) == 1001


def test_flood_of_interim_answers_is_cut(wire, serve):
    server = serve(once(b"", endless(b"HTTP/1.1 103 X\r\nX: " + b"a" * 4000 + b"\r\n\r\n")))
    assert wire.refusal(server.url) == "too_large"


def test_flood_of_headers_is_cut(wire, serve):
    server = serve(once(b"HTTP/1.1 200 OK\r\n", endless(b"X-Y: " + b"a" * 4000 + b"\r\n")))
    assert wire.refusal(server.url) in {"unreachable", "too_large"}


@pytest.mark.parametrize("junk", [b"\x16\x03\x01", b"HTTP/9.9 x\r\n\r\n", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
                                  b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"], ids=range(6))  # fmt: skip
def test_what_is_no_http_is_unreachable(wire, serve, junk):
    assert wire.refusal(serve(once(junk, lambda connection: connection.close())).url) == "unreachable"


def drip(data):
    def behave(server, connection, number):
        server.read(connection)
        for n in range(len(data)):
            connection.sendall(data[n : n + 1])
            time.sleep(0.05)

    return behave


def silent(server, connection, number):
    time.sleep(3)


@pytest.mark.parametrize(
    "behave",
    [drip(b"HTTP/1.1 200 OK\r\n" + b"X-Y: z\r\n" * 100), drip(reply(b"a" * 1000)[:60] + b"a" * 1000), silent],
    ids=["drips headers", "drips body", "says nothing"],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_deadline_is_for_the_whole_exchange(wire, serve, behave, scheme):
    server = serve(behave if scheme == "http" else silent)  # over https the handshake itself hangs
    began = time.monotonic()
    assert wire.refusal(server.url.replace("http", scheme, 1), deadline=0.4) == "deadline"
    assert 0.35 < time.monotonic() - began < 1.2


def test_deadline_holds_while_a_handshake_drips_in(wire, serve):
    def behave(server, connection, number):
        connection.recv(65536)
        connection.sendall(b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb")  # a long ServerHello begins, and drips
        for _ in range(60):
            connection.sendall(b"\x03")
            time.sleep(0.05)

    began = time.monotonic()
    assert wire.refusal(serve(behave).url.replace("http", "https", 1), deadline=0.4) == "deadline"
    assert time.monotonic() - began < 1.2


def test_deadline_holds_while_a_body_is_not_taken(wire, serve):
    server = serve(silent)
    began = time.monotonic()
    assert wire.refusal(server.url, "POST", b"a" * 30_000_000, deadline=0.4) == "deadline"
    assert time.monotonic() - began < 1.2


def test_deadline_holds_while_connecting(wire):
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:
        filler.setblocking(False)
        with suppress(BlockingIOError):
            filler.connect(full.getsockname())
    began = time.monotonic()
    assert wire.refusal(f"http://127.0.0.1:{full.getsockname()[1]}/", deadline=0.4) == "deadline"
    assert time.monotonic() - began < 1.2
    for one in (full, *fillers):
        one.close()


def test_deadline_holds_while_a_name_is_resolved(wire, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: time.sleep(1) or [])
    began = time.monotonic()
    assert wire.refusal("https://op.example/", deadline=0.3) == "deadline"
    assert time.monotonic() - began < 0.9


def test_refused_connection_is_named(wire):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert wire.refusal(f"http://127.0.0.1:{port}/") == "connection_refused"
    with pytest.raises(ProviderUnavailable, match=f"127.0.0.1: nobody listens on port {port}"):
        wire.fetch(f"http://127.0.0.1:{port}/?secret", "POST", b"secret")


@pytest.mark.parametrize("failure", [socket.gaierror(socket.EAI_NONAME, "unknown"), UnicodeError("label too long")])
def test_name_that_does_not_resolve_is_named(wire, monkeypatch, failure):
    def fail(*_, **__):
        raise failure

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert wire.refusal("https://op.example/") == "name_unresolved"
    with pytest.raises(ProviderUnavailable, match=r"op\.example: the name does not resolve"):
        wire.fetch("https://op.example/")


def test_server_without_tls_is_named(kind, serve):
    server = serve(lambda server, connection, number: connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n"))
    wire = Wire(kind)
    with pytest.raises(ProviderUnavailable, match=r"unreachable: localhost: no TLS \(WRONG_VERSION_NUMBER"):
        wire.fetch(f"https://localhost:{server.port}/")
    wire.close()


# --- kept connections ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_kept_connection_closed_by_the_server_fails_no_login(wire, serve, method):
    def behave(server, connection, number):
        server.read(connection)
        connection.sendall(reply())
        connection.close()

    server = serve(behave)
    for _ in range(3):
        assert wire.fetch(server.url, method, b"x" if method == "POST" else None).status == 200
        time.sleep(0.05)
    assert server.connections == 3


def closes_the_second_time(server, connection, number):
    server.read(connection)
    connection.sendall(reply())
    if number == 1:
        server.read(connection)
        connection.close()


def test_get_is_repeated_once_when_a_kept_connection_dies_under_it(wire, serve):
    server = serve(closes_the_second_time)
    assert wire.fetch(server.url).status == 200
    assert wire.fetch(server.url).status == 200
    assert (server.connections, len(server.requests)) == (2, 3)


def test_post_that_was_sent_is_never_repeated(wire, serve):
    server = serve(closes_the_second_time)
    assert wire.fetch(server.url, "POST", b"1").status == 200
    assert wire.refusal(server.url, "POST", b"2") == "unreachable"
    assert [body for _, body in server.requests] == [b"1", b"2"]
    assert wire.fetch(server.url, "POST", b"3").status == 200


def test_fresh_connection_that_dies_is_not_tried_again(wire, serve):
    server = serve(lambda server, connection, number: (server.read(connection), connection.close()))
    assert wire.refusal(server.url) == "unreachable"
    assert server.connections == 1


def test_refused_answer_leaves_a_working_transport(wire, serve):
    def behave(server, connection, number):
        server.read(connection)
        connection.sendall(reply(b"", 302) if number == 1 else reply())

    server = serve(behave)
    assert wire.refusal(server.url) == "redirected"
    assert wire.fetch(server.url).status == 200


def test_many_threads_share_one_transport(serve):
    server = serve(polite)
    wire = Wire(SyncTransport)
    results = []
    threads = [
        threading.Thread(target=lambda: results.extend(wire.fetch(server.url).status for _ in range(10)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [200] * 80
    assert server.connections <= 8
    wire.close()


def test_two_threads_that_are_the_first_to_ask_share_their_connections(serve):
    server = serve(polite)
    wire = Wire(SyncTransport)

    class Overtaken(dict):
        """Looked into by one thread while another one asks."""

        def get(self, pid, default=None):
            found = super().get(pid, default)
            if found is None and not overtakers:
                overtakers.append(threading.Thread(target=lambda: wire.fetch(server.url)))
                overtakers[0].start()
                overtakers[0].join(10)
            return found

    overtakers = []
    wire.transport._ways = Overtaken()
    assert wire.fetch(server.url).status == 200
    assert (len(overtakers), len(server.requests), server.connections) == (1, 2, 1)
    wire.close()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_process_makes_its_own_connections(serve):
    server = serve(polite)
    wire = Wire(SyncTransport)
    wire.fetch(server.url)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if wire.fetch(server.url).status == 200 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert wire.fetch(server.url).status == 200
    assert server.connections == 2
    wire.close()


def test_each_event_loop_has_its_own_connections(serve):
    server = serve(polite)
    transport = AsyncTransport(RealClock(), insecure_hosts=HERE, private_hosts=HERE)

    async def story():
        try:
            return [(await transport.fetch(Fetch(server.url))).status for _ in range(2)]
        finally:
            await transport.close()

    assert asyncio.run(story()) + asyncio.run(story()) == [200] * 4
    assert server.connections == 2


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_connections_of_a_closed_event_loop_are_let_go(serve):
    server = serve(polite)
    transport = AsyncTransport(RealClock(), insecure_hosts=HERE, private_hosts=HERE)
    loops = []

    async def story():
        loops.append(weakref.ref(asyncio.get_running_loop()))
        return (await transport.fetch(Fetch(server.url))).status

    for _ in range(4):
        assert asyncio.run(story()) == 200
    gc.collect()
    assert [loop() for loop in loops[:-1]] == [None] * 3
    asyncio.run(transport.close())
    gc.collect()
    assert [loop() for loop in loops] == [None] * 4


class Silence:
    """A resolver that does not answer for one name, until it is let go."""

    def __init__(self, monkeypatch, name):
        self.asked = 0
        self.over = threading.Event()
        real = socket.getaddrinfo

        def getaddrinfo(host, *args, **more):
            if host != name:
                return real(host, *args, **more)
            self.asked += 1
            self.over.wait(30)
            raise socket.gaierror(-3, "try again")

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.fixture
def silence(monkeypatch):
    one = Silence(monkeypatch, "op.example")
    yield one
    one.over.set()


def test_silent_name_server_keeps_neither_the_loops_threads_nor_other_names_waiting(serve, silence):
    server = serve(polite)
    wire = Wire(AsyncTransport)

    async def story():
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        fetch = wire.transport.fetch
        logins = [asyncio.create_task(fetch(Fetch("https://op.example/", deadline=0.2))) for _ in range(40)]
        with pytest.raises(ProviderUnavailable, match="deadline"):
            await logins[0]
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 10) == "free"
        there = await fetch(Fetch(server.url.replace("127.0.0.1", "localhost"), deadline=10))
        assert {type(each) for each in await asyncio.gather(*logins, return_exceptions=True)} == {ProviderUnavailable}
        return there.status

    assert wire.run(story()) == 200
    assert silence.asked == 1
    wire.close()


def test_who_gives_up_a_name_takes_the_answer_from_nobody(serve, silence):
    wire = Wire(AsyncTransport)

    async def story():
        fetch = wire.transport.fetch
        logins = [asyncio.create_task(fetch(Fetch("https://op.example/", deadline=10))) for _ in range(3)]
        while not silence.asked:
            await asyncio.sleep(0.01)
        logins[0].cancel()
        await asyncio.sleep(0)
        silence.over.set()
        return await asyncio.gather(*logins, return_exceptions=True)

    cancelled, *others = wire.run(story())
    assert isinstance(cancelled, asyncio.CancelledError)
    assert [each.reason for each in others] == ["name_unresolved"] * 2
    assert silence.asked == 1
    wire.close()


def test_without_a_thread_for_the_resolver_the_provider_is_unreachable(wire, monkeypatch):
    wire.run(wire.transport.close())

    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(2):
            assert wire.refusal("https://op.example/") == "unreachable"


def test_cancelled_fetch_stays_cancelled(serve):
    transport = AsyncTransport(RealClock(), insecure_hosts=HERE, private_hosts=HERE)
    server = serve(silent)

    async def story():
        task = asyncio.create_task(transport.fetch(Fetch(server.url)))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await transport.close()

    asyncio.run(story())


# --- where to -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://op.example/", "ftp://127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1/", "//127.0.0.1/", "127.0.0.1", "", "https://", "https:///x",
        "https://user:pw@127.0.0.1/", "https://127.0.0.1:0/", "https://127.0.0.1:99999/", "https://127.0.0.1:x/", "https://127.0.0.1/#f", "https://127.0.0.1/a b",
        "https://127.0.0.1/\r\nX: y", "https://127.0.0.1\\@op.example/", "https://öp.example/", "https://[::1", "https://[fe80::1%25eth0]/", "https://op.example%2f@x/",
        "https://a..b/", "https://-a.example/", "http://127.0.0.2/", "http://0x7f000001/", "http://2130706433/", "http://localhost.evil.example/",
        "https://169.254.169.254/latest/meta-data/", "https://[::ffff:169.254.169.254]/", "https://[fd00:ec2::254]/", "https://100.100.100.200/", "https://168.63.129.16/",
        "https://[fe80::1]/", "https://0.0.0.0/", "https://[::]/", "https://224.0.0.1/", "https://255.255.255.255/", "https://10.0.0.1/", "https://192.168.1.1/", "https://172.16.0.1/",
        "https://127.0.0.2/", "https://[::ffff:10.0.0.1]/", "https://[64:ff9b::a00:1]/", "https://[2002:0a00:0001::]/", "https://[fc00::1]/", "https://100.64.0.1/",
        "https://" + "a" * 9000 + "/",
    ],
    ids=lambda url: url[:40],
)  # fmt: skip
def test_forbidden_url_is_never_connected_to(wire, monkeypatch, url):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: pytest.fail("resolved"))
    assert wire.refusal(url) == "url_forbidden"


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_http_to_this_machine_needs_to_be_allowed(kind, host):
    wire = Wire(kind, insecure_hosts=())
    assert wire.refusal(f"http://{host}:1/") == "url_forbidden"
    wire.close()


def test_http_is_for_this_machine_even_when_a_foreign_host_is_listed(kind):
    wire = Wire(kind, insecure_hosts={"op.example"}, private_hosts={"op.example"})
    assert wire.refusal("http://op.example/") == "url_forbidden"
    wire.close()


def resolves_to(monkeypatch, *answers):
    """Make names resolve, one list of addresses after the other; answers the list of names asked."""
    asked = []

    def getaddrinfo(host, port, *args, **more):
        if host[0].isdigit() or ":" in host:  # an address, no name: nothing is asked of anybody
            addresses = [host]
        else:
            addresses = answers[min(len(asked), len(answers) - 1)]
            asked.append(host)
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
            for one in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "fe80::1%eth0", "0.0.0.0", "fd00:ec2::254"],
)
def test_name_of_a_private_address_is_refused(wire, monkeypatch, address):
    resolves_to(monkeypatch, [address])
    assert wire.refusal("https://op.example/") in {"url_forbidden", "unreachable"}


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "0.0.0.0", "fe80::1"])
def test_metadata_address_is_refused_even_for_a_trusted_name(kind, monkeypatch, address):
    wire = Wire(kind, private_hosts={"op.example"})
    resolves_to(monkeypatch, [address])
    assert wire.refusal("https://op.example/") == "url_forbidden"
    wire.close()


def test_http_to_localhost_that_resolves_elsewhere_is_refused(wire, monkeypatch):
    resolves_to(monkeypatch, ["192.168.1.1"])
    assert wire.refusal("http://localhost:1/") == "url_forbidden"


def test_checked_address_is_the_one_connected_to(kind, serve, monkeypatch):
    """DNS rebinding: the second answer of the resolver, which would be another machine, is never asked for."""
    server = serve(polite)
    asked = resolves_to(monkeypatch, ["127.0.0.1"], ["192.0.2.1"])
    wire = Wire(kind)
    assert wire.fetch(server.url.replace("127.0.0.1", "localhost")).status == 200
    assert asked == ["localhost"]
    assert f"host: localhost:{server.port}" in server.requests[0][0].lower()
    wire.close()


def test_next_address_is_tried_when_one_refuses(wire, serve, monkeypatch):
    server = serve(polite)
    resolves_to(monkeypatch, ["::1", "127.0.0.1", "127.0.0.1"])
    assert wire.fetch(server.url.replace("127.0.0.1", "localhost")).status == 200


def test_ipv6_host_is_written_with_brackets(wire, serve):
    try:
        server = serve(polite, family=socket.AF_INET6)
    except OSError:
        pytest.fail("this machine has no IPv6 loopback")
    assert wire.fetch(f"http://[::1]:{server.port}/").status == 200
    assert f"host: [::1]:{server.port}" in server.requests[0][0].lower()


# --- TLS ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(
        name,
        name,
        key.public_key(),
        x509.random_serial_number(),
        now - datetime.timedelta(1),
        now + datetime.timedelta(1),
    )
    signed = (
        builder.add_extension(names, False).add_extension(x509.BasicConstraints(True, None), True).sign(key, SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        signed.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return path


def over_tls(certificate):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    def behave(server, connection, number):
        with context.wrap_socket(connection, server_side=True) as secure:
            polite(server, secure, number)

    return behave


def test_https_with_a_known_certificate(kind, serve, certificate):
    server = serve(over_tls(certificate))
    wire = Wire(kind, ssl_context=ssl.create_default_context(cafile=certificate), insecure_hosts=())
    for host in ("127.0.0.1", "localhost"):
        for _ in range(2):
            assert wire.fetch(f"https://{host}:{server.port}/", "POST", b"a").status == 200
    assert server.connections == 2
    wire.close()


def test_unknown_certificate_and_wrong_name_are_refused(kind, serve, certificate, monkeypatch):
    server = serve(over_tls(certificate))
    wire = Wire(kind)
    with pytest.raises(ProviderUnavailable, match=r"localhost: self.signed certificate; SSL_CERT_FILE") as unknown:
        wire.fetch(f"https://localhost:{server.port}/")
    assert unknown.value.reason == "certificate_untrusted"
    wire.close()
    wire = Wire(kind, ssl_context=ssl.create_default_context(cafile=certificate), private_hosts={"other.example"})
    resolves_to(monkeypatch, ["127.0.0.1"])
    with pytest.raises(ProviderUnavailable, match=r"not valid for 'other\.example'") as misnamed:
        wire.fetch(f"https://other.example:{server.port}/")
    assert misnamed.value.reason == "certificate_untrusted"
    assert server.requests == []
    wire.close()


def test_nothing_goes_through_a_proxy_that_is_spoken_to_over_tls(serve, certificate, monkeypatch):
    """TLS inside TLS is not to be had, and what is for the provider must not reach the proxy without the inner one."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    after_connect = []

    def behave(server, connection, number):
        with context.wrap_socket(connection, server_side=True) as secure:
            server.read(secure)
            secure.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            after_connect.append(secure.recv(65536))

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server = serve(behave)
    wire = Wire(SyncTransport, proxy=f"https://localhost:{server.port}")
    assert wire.refusal("https://localhost:1/", "POST", b"secret") == "unreachable"
    wire.close()
    assert server.requests[0][0].startswith("CONNECT localhost:1")
    assert b"".join(after_connect) == b""


def test_head_and_body_of_a_small_request_leave_in_one_piece(serve):
    """The other side wakes up once, and no packet waits for the acknowledgement of another."""
    pieces = []

    def behave(server, connection, number):
        pieces.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    wire = Wire(SyncTransport)
    answer = wire.fetch(serve(behave).url, "POST", b"body")
    wire.close()
    assert answer.status == 200
    assert pieces[0].endswith(b"\r\n\r\nbody")


def test_an_answer_that_comes_before_the_whole_request_was_taken_is_read(wire, serve):
    """RFC 9112 §9.5: a server may answer early and close; what it said counts, not that the rest could not be sent."""

    def behave(server, connection, number):
        connection.recv(1024)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnope")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    answer = wire.fetch(serve(behave).url, "POST", b"x" * 300_000)
    assert (answer.status, answer.body) == (413, b"nope")
