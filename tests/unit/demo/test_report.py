from __future__ import annotations

import io
import json

import pytest

from jit_middleware.demo.report import Broken, Report


def test_report_counts_the_checks_that_hold() -> None:
    out = io.StringIO()
    report = Report(out, as_json=False)
    step = report.step("First")
    step.check("is right", "seen", ok=True)
    step.note("worth knowing", 17)
    assert report.close()
    assert "1. First\n   ✓ is right" in out.getvalue()
    assert "All 1 checks hold." in out.getvalue()


def test_report_with_a_failure_is_not_good() -> None:
    out = io.StringIO()
    report = Report(out, as_json=False)
    step = report.step("First")
    step.check("right", "", ok=True)
    with pytest.raises(Broken, match="wrong"):
        step.need("wrong", "other", ok=False)
    assert not report.close()
    assert "1 of 2 checks FAILED: wrong" in out.getvalue()


def test_report_without_any_check_is_not_good() -> None:
    report = Report(io.StringIO(), as_json=False)
    report.step("Nothing looked at").note("a", "b")
    assert not report.close()


def test_report_as_json_is_one_document() -> None:
    out = io.StringIO()
    report = Report(out, as_json=True)
    report.say("for people")
    report.step("First").check("wrong", "Å", ok=False)
    report.close()
    facts = [{"what": "wrong", "seen": "Å", "ok": False}]
    assert json.loads(out.getvalue()) == {"ok": False, "steps": [{"title": "First", "facts": facts}]}


def test_report_on_an_ascii_terminal_is_ascii() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    report = Report(out, as_json=False)
    report.step("Ångström").check("name", "Å", ok=True)
    report.close()
    out.flush()
    assert b"ok name" in raw.getvalue()
    assert b"\\xc5" in raw.getvalue()
