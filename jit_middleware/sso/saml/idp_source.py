"""Where the provider's metadata comes from, kept current: a URL, a file, or the document in the settings.

A document from a URL is good for as long as it says, for an hour if it does not say. After that somebody's login begins
a new fetch in the background and goes on with the copy at hand; a fetch that fails, or brings something that does not
verify, is tried again after a pause that doubles, and the last good copy serves until its own ``validUntil``. Nothing
is fetched at start. A file is read again when it changes. So a provider changes its keys without a restart here.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol

from jit_middleware.errors import AdapterError, ProviderUnavailable, VerificationError
from jit_middleware.ports import Background, Clock, Fetch, Locks, Offload, Transport
from jit_middleware.settings import SAMLConnection
from jit_middleware.sso.saml.idp_metadata import IdPMetadata, read_document

FRESH_FOR: Final = 3600.0
SHORTEST_FRESH: Final = 60.0
LONGEST_FRESH: Final = 86_400.0
FIRST_PAUSE: Final = 5.0
LONGEST_PAUSE: Final = 300.0
RENEWAL_PAUSE: Final = 30.0
BROKEN_OFF: Final = 3
LARGEST: Final = 32 * 1024 * 1024  # bytes; a national federation fits

log = logging.getLogger("jit_middleware.saml")


class IdPSource(Protocol):
    """The metadata of one provider, as it is now."""

    async def get(self) -> IdPMetadata:
        """Raises ``ProviderUnavailable`` or ``VerificationError`` when there is none that may serve."""
        ...

    async def renewed(self, seen: IdPMetadata) -> IdPMetadata:
        """Newer metadata than ``seen`` if some may be had now, else ``seen``: a signature just did not verify."""
        ...


def idp_source(
    connection: SAMLConnection,
    *,
    transport: Transport,
    clock: Clock,
    locks: Locks,
    offload: Offload,
    background: Background,
) -> IdPSource:
    """The source that the connection's setting means."""

    def read(document: bytes) -> IdPMetadata:
        return read_document(
            document,
            entity_id=connection.idp_entity_id,
            certificates=connection.metadata_certificates,
            now=clock.now(),
        )

    if connection.metadata_is_inline:
        return MetadataOnDisk(None, connection.idp_metadata.encode(), read, clock=clock, offload=offload)
    url = connection.metadata_url
    if url is None:
        return MetadataOnDisk(Path(connection.idp_metadata), b"", read, clock=clock, offload=offload)

    async def load() -> IdPMetadata:
        document = await fetch_metadata(url, transport)
        return await offload(lambda: read(document))

    return FetchedMetadata(connection.name, load, clock=clock, locks=locks, background=background)


async def fetch_metadata(url: str, transport: Transport) -> bytes:
    """The document at this URL. Raises ``ProviderUnavailable``."""
    answer = await transport.fetch(
        Fetch(url, headers={"accept": "application/samlmetadata+xml, application/xml, text/xml"}, max_bytes=LARGEST)
    )
    if answer.status != 200:
        raise ProviderUnavailable("metadata_unavailable", f"status {answer.status}")
    return answer.body


#: A good document that does not hold the provider any more takes its keys back: the last copy does not serve on.
_GONE: Final = frozenset({"metadata_entity_unknown", "metadata_no_idp"})


class MetadataOnDisk:
    """A file, or a document that stands in the settings: read when first needed, and again when the file changes."""

    def __init__(
        self,
        path: Path | None,
        document: bytes,
        read: Callable[[bytes], IdPMetadata],
        *,
        clock: Clock,
        offload: Offload,
    ) -> None:
        self._path = path
        self._document = document
        self._read = read
        self._clock = clock
        self._offload = offload
        self._kept: tuple[tuple[int, int], IdPMetadata] | None = None

    async def get(self) -> IdPMetadata:
        stamp = self._stamp()
        kept = self._kept
        if kept is None or (stamp is not None and kept[0] != stamp):
            kept = await self._load(stamp or (0, 0), kept)
        valid_until = kept[1].valid_until
        if valid_until is not None and self._clock.now() >= valid_until:
            raise VerificationError("metadata_expired", "its validUntil has passed")
        return kept[1]

    async def renewed(self, seen: IdPMetadata) -> IdPMetadata:  # noqa: ARG002 - the file itself says whether it is new
        return await self.get()

    async def _load(
        self, stamp: tuple[int, int], kept: tuple[tuple[int, int], IdPMetadata] | None
    ) -> tuple[tuple[int, int], IdPMetadata]:
        try:
            document = self._document if self._path is None else self._path.read_bytes()
            fresh = (stamp, await self._offload(lambda: self._read(document)))
        except OSError as problem:
            failure: ProviderUnavailable | VerificationError = ProviderUnavailable(
                "metadata_unavailable", f"the file cannot be read ({problem.strerror})"
            )
        except VerificationError as problem:
            failure = problem
        else:
            self._kept = fresh
            return fresh
        if kept is None or failure.reason in _GONE:
            self._kept = None
            raise failure
        # Perhaps half written: what was read before still serves, and the next login looks again.
        log.warning("the metadata file changed and cannot be used: %s", failure)
        return kept

    def _stamp(self) -> tuple[int, int] | None:
        """When the file was last changed and how long it is; ``None`` when it is not there."""
        if self._path is None:
            return (0, 0)
        try:
            state = self._path.stat()
        except OSError:
            return None
        return (state.st_mtime_ns, state.st_size)


class FetchedMetadata:
    """A document from a URL. ``load`` raises ``ProviderUnavailable`` or ``VerificationError``, nothing else of ours."""

    def __init__(
        self,
        name: str,
        load: Callable[[], Awaitable[IdPMetadata]],
        *,
        clock: Clock,
        locks: Locks,
        background: Background,
    ) -> None:
        self._name = name
        self._load = load
        self._clock = clock
        self._lock = locks()
        self._background = background
        self._kept: IdPMetadata | None = None
        self._fresh_until = float("-inf")
        self._refresh_began = float("-inf")
        self._failure: AdapterError | VerificationError | None = None
        self._pause = FIRST_PAUSE
        self._retry_at = float("-inf")
        self._renewable_at = float("-inf")
        self._tries = 0

    async def get(self) -> IdPMetadata:
        kept = self._kept
        if kept is not None and self._is_valid(kept):
            if self._is_due():
                self._refresh_began = self._clock.monotonic()
                self._background(self._refresh)
            return kept
        async with self._lock:
            if self._kept is not None and self._is_valid(self._kept):
                return self._kept
            if self._failure is not None and self._clock.monotonic() < self._retry_at:
                raise type(self._failure)(self._failure.reason, self._failure.detail)
            return await self._fetch()

    async def renewed(self, seen: IdPMetadata) -> IdPMetadata:
        async with self._lock:
            if self._kept is not None and self._kept is not seen:
                return self._kept
            if self._clock.monotonic() < self._renewable_at:
                return seen
            self._tries += 1
            is_broken_off = True
            try:
                fresh = await self._fetch()
                is_broken_off = False
            except (AdapterError, VerificationError):
                fresh, is_broken_off = seen, False
            finally:
                # Whoever leaves in the middle has learned nothing, and keeps nobody else from it; but one who always
                # leaves must not make us ask without end.
                if not is_broken_off or self._tries == BROKEN_OFF:
                    self._renewable_at, self._tries = self._clock.monotonic() + RENEWAL_PAUSE, 0
            return fresh

    def _is_valid(self, metadata: IdPMetadata) -> bool:
        return metadata.valid_until is None or self._clock.now() < metadata.valid_until

    def _is_due(self) -> bool:
        """Whether the copy has aged and nobody is at it; a fetch that never came back is given up after a minute."""
        now = self._clock.monotonic()
        return now >= self._fresh_until and now >= self._retry_at and now - self._refresh_began >= LONGEST_PAUSE / 5

    async def _refresh(self) -> None:
        async with self._lock:
            if self._clock.monotonic() < self._fresh_until:
                return
            try:
                await self._fetch()
            except (AdapterError, VerificationError) as failure:
                log.warning("the metadata of %s cannot be renewed, the last copy serves on: %s", self._name, failure)

    async def _fetch(self) -> IdPMetadata:
        try:
            fresh = await self._load()
        except (AdapterError, VerificationError) as failure:
            if failure.reason in _GONE:
                self._kept = None
            self._failure = type(failure)(failure.reason, failure.detail)
            self._retry_at = self._clock.monotonic() + self._pause
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
            self._refresh_began = float("-inf")
            raise
        self._kept = fresh
        age = FRESH_FOR if fresh.cache_for is None else float(fresh.cache_for)
        self._fresh_until = self._clock.monotonic() + min(max(age, SHORTEST_FRESH), LONGEST_FRESH)
        self._failure, self._pause, self._retry_at = None, FIRST_PAUSE, float("-inf")
        self._refresh_began = float("-inf")
        return fresh
