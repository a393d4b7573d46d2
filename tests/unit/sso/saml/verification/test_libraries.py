"""The room opens only when python3-saml, lxml and xmlsec are there and fit each other."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from jit_middleware.errors import ConfigurationError
from jit_middleware.sso.saml.libraries import PIP_LINE, check_pair, require_libraries

ROOT = Path(__file__).parents[5]


def opened_with(arrangement: str) -> str:
    """What importing the room says in a process where the libraries are arranged so."""
    program = f"""
import importlib, sys, types
sys.path.insert(0, {str(ROOT)!r})
{textwrap.dedent(arrangement)}
from jit_middleware.errors import ConfigurationError
try:
    importlib.import_module("jit_middleware.sso.saml.response")
except ConfigurationError as refusal:
    print(refusal)
else:
    print("open")
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_installed_libraries_fit() -> None:
    require_libraries()


def test_two_versions_of_libxml2_are_refused_with_the_line_that_helps() -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_pair((2, 14, 6), (2, 11, 9))
    assert "2.14.6" in str(caught.value)
    assert "2.11.9" in str(caught.value)
    assert PIP_LINE in str(caught.value)


@pytest.mark.parametrize("name", ["lxml", "xmlsec", "onelogin"])
def test_a_missing_library_is_named(name: str) -> None:
    said = opened_with(f"sys.modules[{name!r}] = None")
    assert name in said
    assert PIP_LINE in said


def test_an_old_lxml_is_refused_before_xmlsec_is_loaded() -> None:
    said = opened_with("import lxml.etree; lxml.etree.LXML_VERSION = (5, 4, 0, 0); sys.modules['xmlsec'] = None")
    assert "5.4.0.0" in said
    assert PIP_LINE in said


def test_an_xmlsec_that_refuses_to_start_is_told_so() -> None:
    said = opened_with(
        """
        class Finder:
            def find_spec(self, name, path=None, target=None):
                if name == "xmlsec":
                    raise type("InternalError", (Exception,), {"__module__": "xmlsec"})("version mismatch")
        sys.meta_path.insert(0, Finder())
        """
    )
    assert "version mismatch" in said
    assert PIP_LINE in said


def test_with_the_libraries_the_room_opens() -> None:
    assert opened_with("pass") == "open\n"
