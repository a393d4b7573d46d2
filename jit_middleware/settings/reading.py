"""One reading of all sources: typed values out, faults collected on the way instead of stopping at the first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from jit_middleware.errors import Fault
from jit_middleware.settings.setting import Path, Setting
from jit_middleware.settings.sources import Source
from jit_middleware.settings.table import OIDC, SAML, variable
from jit_middleware.settings.values import BadValue

T = TypeVar("T")


class Reading:
    """Takes settings from a source. A bad or missing value is noted and its default goes on, so that one reading finds
    every fault."""

    def __init__(self, source: Source) -> None:
        self._given = source.given
        self._file = source.file
        self.faults = list(source.faults)

    def take(self, setting: Setting[T], *, under: Path = ()) -> T:
        """The value of this setting, below a table such as ``("connections", "okta")`` when one is named."""
        given = self._given.get((*under, *setting.path))
        if given is None:
            if setting.required:
                self.note(self.name(setting, under=under), "it is missing.", f"set it: {setting.meaning}")
            return setting.default
        try:
            return setting.read(given.value)
        except BadValue as bad:
            self.note(given.name, bad.problem, bad.fix)
            return setting.default

    def has(self, setting: Setting[object], *, under: Path = ()) -> bool:
        """Whether any source gives this setting."""
        return (*under, *setting.path) in self._given

    def text_at(self, path: Path) -> object:
        """The raw value at a place outside the table, ``None`` when there is none."""
        given = self._given.get(path)
        return None if given is None else given.value

    def given_below(self, under: Path) -> Mapping[str, str]:
        """The first key of everything given below this table, with the name the operator knows it by."""
        depth = len(under)
        return {path[depth]: given.name for path, given in self._given.items() if path[:depth] == under}

    def name(self, setting: Setting[object], *, under: Path = ()) -> str:
        """What the operator calls this setting: as it was given, else as it can be given."""
        given = self._given.get((*under, *setting.path))
        if given is not None:
            return given.name
        if under in {(), ("connections", OIDC), ("connections", SAML)}:
            return variable(setting, protocol=under[-1] if under else OIDC)
        return f"{'.'.join((*under, *setting.path))} in {self._file}"

    def connections(self) -> tuple[str, ...]:
        """The names of all connections, in the order first met."""
        return tuple(dict.fromkeys(path[1] for path in self._given if path[0] == "connections"))

    def note(self, setting: str, problem: str, fix: str) -> None:
        """Keep a fault, once: a shared setting is taken for each connection."""
        fault = Fault(setting, problem, fix)
        if fault not in self.faults:
            self.faults.append(fault)
