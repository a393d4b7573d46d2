"""Where settings come from: the environment, the TOML file that ``JIT_CONFIG`` names, and overrides given in code.

Every source is flattened to ``place → Given`` against the one table. What the table does not know is a fault with a
suggestion; a place that two sources fill goes to the later one (TOML, then environment, then overrides).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from difflib import get_close_matches
from pathlib import Path as FilePath
from typing import Final, cast

from jit_middleware.errors import Fault
from jit_middleware.records import dataclass
from jit_middleware.settings import policy_table, table
from jit_middleware.settings.setting import Path, Setting
from jit_middleware.settings.values import shown

_FILE: Final = "_FILE"
_CONNECTION_NAME: Final = re.compile(r"[a-z0-9-]{1,32}")
_FLAT: Final = {name.removeprefix("JIT_").lower(): place for name, place in table.variables().items()}
_CONNECTION: Final = {setting.path[0]: setting for setting in (*table.CONNECTION, *policy_table.OF_A_CONNECTION)}
_CLAIMS: Final = {setting.path[1]: setting for setting in table.CLAIMS}


@dataclass(frozen=True, slots=True)
class Given:
    """A value as a source gives it, and the name the operator knows it by."""

    value: object = field(repr=False)
    name: str


@dataclass(slots=True)
class Source:
    """What one source gives, and what is wrong with it."""

    given: dict[Path, Given] = field(default_factory=dict[Path, Given])
    faults: list[Fault] = field(default_factory=list[Fault])
    #: What the operator calls the TOML file, where one is named.
    file: str = table.CONFIG

    def put(self, path: Path, given: Given) -> None:
        """Keep the value; a place filled twice by one source is a fault."""
        before = self.given.get(path)
        if before is not None:
            self.faults.append(Fault(given.name, f"it is also given as {before.name}.", "remove one of the two."))
            return
        self.given[path] = given


def gather(env: Mapping[str, str], overrides: Mapping[str, object]) -> Source:
    """All sources, merged; the later one wins for each place."""
    sources = (
        _config_file(env),
        from_environment(env),
        from_document(overrides, origin="overrides", beside=FilePath()),
    )
    merged = Source(file=FilePath(env.get(table.CONFIG, "").strip()).name or table.CONFIG)
    for source in sources:
        merged.given.update(source.given)
        merged.faults.extend(source.faults)
    return merged


def from_environment(env: Mapping[str, str]) -> Source:
    """The ``JIT_…`` variables. One that is set but empty counts as not set, as container tools leave them."""
    known = table.variables()
    source = Source()
    for name in sorted(env):
        value = env[name]
        if not name.startswith("JIT_") or name == table.CONFIG or not value.strip():
            continue
        if name in known:
            path, _ = known[name]
            source.put(path, Given(value, name))
        elif name.endswith(_FILE) and name.removesuffix(_FILE) in known:
            path, setting = known[name.removesuffix(_FILE)]
            _put_file(source, path, setting, value, name=name, beside=FilePath())
        else:
            source.faults.append(_unknown(name, (*known, *(each + _FILE for each in known), table.CONFIG)))
    return source


def from_document(document: Mapping[str, object], *, origin: str, beside: FilePath) -> Source:
    """A TOML document (or overrides of the same shape); ``beside`` is where relative file names start."""
    source = Source()
    tables: dict[str, object] = {}
    for key, value in document.items():
        if key in {"connections", "claims"}:
            tables[key] = value
        elif key in _FLAT:
            path, _ = _FLAT[key]
            source.put(path, Given(value, f"{key} in {origin}"))
        elif key.removesuffix("_file") in _FLAT:
            path, setting = _FLAT[key.removesuffix("_file")]
            _put_file(source, path, setting, value, name=f"{key} in {origin}", beside=beside)
        else:
            source.faults.append(_unknown(_in_toml(key), (*_FLAT, "connections", "claims"), f"{key} in {origin}"))
    if "claims" in tables:
        _claims(source, (), tables["claims"], f"claims in {origin}", beside)
    if "connections" in tables:
        _connections(source, tables["connections"], origin, beside)
    return source


def _config_file(env: Mapping[str, str]) -> Source:
    name = env.get(table.CONFIG, "").strip()
    if not name:
        return Source()
    import tomllib

    try:
        document = cast("Mapping[str, object]", tomllib.loads(FilePath(name).read_bytes().decode()))
    except (OSError, ValueError, RecursionError) as broken:
        problem = f"the file {shown(name)} {_why(broken)}."
        fix = "name a readable TOML file, or remove the setting."
        if isinstance(broken, tomllib.TOMLDecodeError):
            fix = 'correct it there; texts stand in quotes, as in KEY = "text".'
        return Source(faults=[Fault(table.CONFIG, problem, fix)])
    return from_document(document, origin=FilePath(name).name, beside=FilePath(name).parent)


def _connections(source: Source, value: object, origin: str, beside: FilePath) -> None:
    connections = _as_table(source, value, f"connections in {origin}")
    for name, content in connections.items():
        label = f"connections.{name} in {origin}"
        if not _CONNECTION_NAME.fullmatch(name):
            fix = "use 1 to 32 lower-case letters, digits and hyphens."
            source.faults.append(Fault(label, "its name cannot stand in a URL of ours.", fix))
            continue
        place = ("connections", name)
        for key, entry in _as_table(source, content, label).items():
            full = f"connections.{name}.{key} in {origin}"
            if key == "protocol":
                source.put((*place, "protocol"), Given(entry, full))
            elif key == "claims":
                _claims(source, place, entry, full, beside)
            elif key in _CONNECTION:
                source.put((*place, key), Given(_placed(_CONNECTION[key], entry, beside), full))
            elif key.removesuffix("_file") in _CONNECTION:
                stem = key.removesuffix("_file")
                _put_file(source, (*place, stem), _CONNECTION[stem], entry, name=full, beside=beside)
            else:
                stem = _in_toml(key).removeprefix("oidc_").removeprefix("saml_")
                source.faults.append(_unknown(stem, (*_CONNECTION, "claims", "protocol"), full))


def _claims(source: Source, place: Path, value: object, label: str, beside: FilePath) -> None:
    prefix, _, origin = label.partition(" in ")
    for key, entry in _as_table(source, value, label).items():
        full = f"{prefix}.{key} in {origin}"
        if key in _CLAIMS:
            source.put((*place, "claims", key), Given(entry, full))
        elif key.removesuffix("_file") in _CLAIMS:
            stem = key.removesuffix("_file")
            _put_file(source, (*place, "claims", stem), _CLAIMS[stem], entry, name=full, beside=beside)
        else:
            fault = _unknown(key, tuple(_CLAIMS), full)
            source.faults.append(
                Fault(fault.setting, fault.problem, f"{fault.fix} A further field goes into claims.fields.")
            )


def _placed(setting: Setting[object], value: object, beside: FilePath) -> object:
    """The value, with the name of a file (no URL, no document) starting from the directory of the TOML file."""
    if not setting.may_name_a_file or not isinstance(value, str) or "://" in value or value.lstrip().startswith("<"):
        return value
    return str(beside / value.strip())


def _as_table(source: Source, value: object, label: str) -> Mapping[str, object]:
    if isinstance(value, Mapping):
        return cast("Mapping[str, object]", value)
    source.faults.append(Fault(label, "it is not a table.", "write it as a TOML table in [brackets]."))
    return {}


def _put_file(
    source: Source, path: Path, setting: Setting[object], value: object, *, name: str, beside: FilePath
) -> None:
    """Take the value from a file, without the one line break that editors put at its end."""
    if not isinstance(value, str):
        source.faults.append(Fault(name, "it is not the name of a file.", "write the file's path as text."))
        return
    try:
        content = (beside / value.strip()).read_bytes().decode()
    except (OSError, ValueError) as broken:
        which = (
            "the file" if setting.secret else f"the file {shown(value)}"
        )  # a secret itself may stand here by mistake
        source.faults.append(Fault(name, f"{which} {_why(broken)}.", "name a readable text file (UTF-8)."))
        return
    source.put(path, Given(content.removesuffix("\n").removesuffix("\r"), name))


def _why(broken: Exception) -> str:
    """What is wrong with a file, from the exception's kind alone: its text may quote what the file holds."""
    import tomllib

    match broken:
        case OSError():
            return f"cannot be read ({broken.strerror or 'no such file'})"
        case tomllib.TOMLDecodeError():
            where = re.search(r"\(at ([^()]*)\)$", str(broken))
            return f"is not TOML{f' (at {where[1]})' if where else ''}"
        case UnicodeDecodeError():
            return "is not UTF-8 text"
        case _:
            return "cannot be read"


def _in_toml(key: str) -> str:
    """How a key is written in TOML that somebody may have copied from the environment."""
    return key.removeprefix("JIT_").lower() if key.startswith("JIT_") else key


def _unknown(name: str, known: Iterable[str], label: str = "") -> Fault:
    near = get_close_matches(name, list(known), n=1, cutoff=0.7)
    fix = f"did you mean {near[0]}?" if near else "remove it; docs/settings.md lists every setting."
    return Fault(label or name, "there is no such setting.", fix)
