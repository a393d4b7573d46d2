"""What a setting is: a place, a reader, a default and a sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from jit_middleware.records import dataclass

T_co = TypeVar("T_co", covariant=True)
Path = tuple[str, ...]


@dataclass(frozen=True)  # slots: Python 3.11 cannot subscript a generic class that is frozen and slotted
class Setting(Generic[T_co]):
    """One setting: ``path`` is where a TOML file has it, ``default`` the value when it is absent.

    ``shown`` is that default in words when the value alone does not tell. ``may_name_a_file``: the value can be the
    name of a file, which in a TOML file starts from that file's own directory.
    """

    path: Path
    read: Callable[[object], T_co]
    default: T_co
    meaning: str
    shown: str = ""
    required: bool = False
    secret: bool = False
    may_name_a_file: bool = False
