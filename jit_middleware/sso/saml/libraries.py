"""The native libraries of this room: there, new enough, and built on one libxml2.

lxml and xmlsec hand each other pointers into libxml2. Built on two versions of it they crash the process at best, so
the room does not open then, and says which two lines put it right.
"""

from __future__ import annotations

import importlib
from typing import Final, Protocol, cast

from jit_middleware.errors import ConfigurationError, Fault

PIP_LINE: Final = 'pip install --upgrade "python3-saml>=1.16" "lxml>=6.0.2" "xmlsec>=1.3.16"'
_OLDEST_LXML: Final = (6, 0, 2)


class _Lxml(Protocol):
    LXML_VERSION: tuple[int, ...]
    LIBXML_VERSION: tuple[int, ...]


class _Xmlsec(Protocol):
    def get_libxml_version(self) -> tuple[int, ...]: ...


def require_libraries() -> None:
    """Raise ``ConfigurationError`` with the pip line unless python3-saml, lxml and xmlsec work together."""
    try:
        lxml = cast("_Lxml", importlib.import_module("lxml.etree"))
        if lxml.LXML_VERSION < _OLDEST_LXML:
            raise _unfit(f"lxml {_dotted(lxml.LXML_VERSION)} is older than {_dotted(_OLDEST_LXML)}.")
        xmlsec = cast("_Xmlsec", importlib.import_module("xmlsec"))
        importlib.import_module("onelogin.saml2.response")
    except ImportError as problem:
        raise _unfit(f"a SAML connection needs python3-saml, lxml and xmlsec ({problem}).") from None
    except Exception as problem:
        # xmlsec refuses a foreign libxml2 with an error class of its own that cannot be imported, as it refuses to be.
        if type(problem).__module__ == "xmlsec":
            raise _unfit(f"xmlsec does not start: {problem}.") from None
        raise
    check_pair(lxml.LIBXML_VERSION, xmlsec.get_libxml_version())


def check_pair(of_lxml: tuple[int, ...], of_xmlsec: tuple[int, ...]) -> None:
    """Raise ``ConfigurationError`` unless both carry the same libxml2."""
    if of_lxml != of_xmlsec:
        raise _unfit(f"lxml carries libxml2 {_dotted(of_lxml)}, xmlsec {_dotted(of_xmlsec)}.")


def _unfit(problem: str) -> ConfigurationError:
    return ConfigurationError([Fault("saml", problem, PIP_LINE)])


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
