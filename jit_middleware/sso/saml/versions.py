"""Which native libraries are at work, for whoever checks an installation."""

from __future__ import annotations

from importlib.metadata import version

import xmlsec
from lxml import etree


def library_versions() -> str:
    """lxml with the libxml2 that it and xmlsec share, in one line."""
    xml = ".".join(map(str, xmlsec.get_libxml_version()))
    return f"lxml {'.'.join(map(str, etree.LXML_VERSION))} and xmlsec {version('xmlsec')}, both on libxml2 {xml}"
