"""Metadata kept current: fetched late, renewed in the background, and never lost to a provider that is down."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from jit_middleware.bridge import ThreadLocks, step
from jit_middleware.errors import ProviderUnavailable, VerificationError
from jit_middleware.sso.saml.idp_source import IdPSource, idp_source
from tests.conftest import FakeClock
from tests.unit.sso.saml.protocol.idp import (
    IDP,
    METADATA_URL,
    NOW,
    Later,
    Wire,
    at_once,
    connection,
    descriptor,
    key_pair,
    time,
)

NEXT = descriptor(keys=(('use="signing"', key_pair("idp-next")),)).encode()


class Stage:
    def __init__(self, **changes: object) -> None:
        self.clock = FakeClock()
        self.wire = Wire()
        self.later = Later()
        self.source: IdPSource = idp_source(
            connection(**changes),
            transport=self.wire,
            clock=self.clock,
            locks=ThreadLocks(),
            offload=at_once,
            background=self.later,
        )

    def certificates(self) -> tuple[str, ...]:
        return step(self.source.get()).certificates


def test_nothing_is_fetched_before_it_is_needed_and_then_once_an_hour() -> None:
    stage = Stage()
    assert stage.wire.asked == []
    stage.certificates()
    stage.clock.advance(3599)
    stage.certificates()
    assert stage.wire.asked == [METADATA_URL]
    assert stage.later.run() == 0


def test_an_aged_copy_serves_while_the_next_is_fetched_in_the_background() -> None:
    stage = Stage()
    before = stage.certificates()
    stage.wire.body = NEXT
    stage.clock.advance(3600)
    assert stage.certificates() == before
    assert stage.certificates() == before
    assert stage.later.run() == 1
    assert stage.certificates() != before
    assert len(stage.wire.asked) == 2


def test_the_cache_duration_decides_within_bounds() -> None:
    stage = Stage()
    stage.wire.body = descriptor(attributes='cacheDuration="PT1S"').encode()
    stage.certificates()
    stage.clock.advance(59)
    stage.certificates()
    assert stage.later.run() == 0
    stage.clock.advance(1)
    stage.certificates()
    assert stage.later.run() == 1


def test_the_last_good_copy_serves_while_the_provider_is_down_or_talks_nonsense() -> None:
    stage = Stage()
    before = stage.certificates()
    for failure in ({"down": True}, {"down": False, "body": b"<html/>"}, {"status": 500}):
        for name, value in failure.items():
            setattr(stage.wire, name, value)
        stage.clock.advance(86_400)
        assert stage.certificates() == before
        assert stage.later.run() == 1
    stage.wire.body, stage.wire.status = NEXT, 200
    stage.clock.advance(86_400)
    stage.certificates()
    stage.later.run()
    assert stage.certificates() != before


def test_a_failed_renewal_is_repeated_after_a_pause() -> None:
    stage = Stage()
    stage.certificates()
    stage.wire.down = True
    stage.clock.advance(3600)
    stage.certificates()
    stage.later.run()
    stage.certificates()
    assert stage.later.run() == 0
    stage.clock.advance(5)
    stage.certificates()
    assert stage.later.run() == 1


def test_a_copy_does_not_outlive_its_own_valid_until() -> None:
    stage = Stage()
    stage.wire.body = descriptor(attributes=f'validUntil="{time(NOW + 7200)}"').encode()
    stage.certificates()
    stage.wire.down = True
    stage.clock.advance(7199)
    stage.certificates()
    stage.clock.advance(1)
    with pytest.raises(ProviderUnavailable):
        stage.certificates()


def test_without_a_copy_a_failure_is_remembered_for_a_moment() -> None:
    stage = Stage()
    stage.wire.down = True
    for _ in range(3):
        with pytest.raises(ProviderUnavailable, match="unreachable"):
            stage.certificates()
    assert len(stage.wire.asked) == 1
    stage.wire.down = False
    stage.clock.advance(5)
    assert stage.certificates()


def test_a_status_other_than_200_is_no_metadata() -> None:
    stage = Stage()
    stage.wire.status = 404
    with pytest.raises(ProviderUnavailable, match="metadata_unavailable"):
        stage.certificates()


def test_a_renewal_out_of_turn_happens_once_in_half_a_minute() -> None:
    stage = Stage()
    seen = step(stage.source.get())
    assert step(stage.source.renewed(seen)).certificates == seen.certificates
    assert len(stage.wire.asked) == 2
    stage.wire.body = NEXT
    current = step(stage.source.get())
    assert step(stage.source.renewed(current)) is current
    stage.clock.advance(30)
    assert step(stage.source.renewed(current)).certificates != current.certificates
    assert len(stage.wire.asked) == 3


def test_a_renewal_whose_login_is_broken_off_keeps_no_other_from_the_new_keys() -> None:
    stage = Stage()
    seen = step(stage.source.get())
    stage.wire.broken_off = True
    with pytest.raises(asyncio.CancelledError):
        step(stage.source.renewed(seen))
    stage.wire.body, stage.wire.broken_off = NEXT, False
    assert step(stage.source.renewed(seen)).certificates != seen.certificates


def test_who_always_breaks_off_makes_us_ask_three_times_in_half_a_minute() -> None:
    stage = Stage()
    seen = step(stage.source.get())
    stage.wire.broken_off = True
    for _ in range(2):
        asked = len(stage.wire.asked)
        for _ in range(3):
            with pytest.raises(asyncio.CancelledError):
                step(stage.source.renewed(seen))
        assert step(stage.source.renewed(seen)) is seen
        assert len(stage.wire.asked) == asked + 3
        stage.clock.advance(30)


def test_a_renewal_that_fails_leaves_what_there_is() -> None:
    stage = Stage()
    seen = step(stage.source.get())
    stage.wire.down = True
    assert step(stage.source.renewed(seen)) is seen


def test_a_file_is_read_again_when_it_changes_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    place = tmp_path / "idp.xml"
    place.write_bytes(descriptor().encode())
    stage = Stage(idp_metadata=str(place))
    before = stage.certificates()
    place.write_bytes(NEXT + b" ")
    after = stage.certificates()
    assert after != before
    place.write_bytes(b"<half")
    assert stage.certificates() == after
    place.unlink()
    assert stage.certificates() == after
    place.write_bytes(descriptor().encode())
    os.utime(place, (1, 1))
    assert stage.certificates() == before
    assert stage.wire.asked == []


def test_a_file_that_was_never_good_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    place = tmp_path / "idp.xml"
    stage = Stage(idp_metadata=str(place))
    with pytest.raises(ProviderUnavailable, match="metadata_unavailable"):
        stage.certificates()
    place.write_bytes(b"<half")
    with pytest.raises(VerificationError, match="xml_malformed"):
        stage.certificates()


def test_a_document_in_the_settings_ends_with_its_valid_until() -> None:
    stage = Stage(idp_metadata=descriptor(attributes=f'validUntil="{time(NOW + 10)}"'))
    assert step(stage.source.get()).entity_id == IDP
    stage.clock.advance(10)
    with pytest.raises(VerificationError, match="metadata_expired"):
        stage.certificates()
