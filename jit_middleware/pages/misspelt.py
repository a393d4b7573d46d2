"""Files in ``JIT_TEMPLATES`` that were meant to replace a template of ours and have another name."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path


def misspelt_templates(directory: str | None) -> tuple[str, ...]:
    """A sentence for each file whose name is nearly that of a template of ours, which therefore stays in use.

    Other names are the operator's own affair: parts that their templates include.
    """
    if directory is None:
        return ()
    ours = _names(Path(__file__).with_name("templates"))
    theirs = _names(Path(directory))
    near = [(name, get_close_matches(name, ours - theirs, n=1, cutoff=0.8)) for name in sorted(theirs - ours)]
    return tuple(
        f"JIT_TEMPLATES: the file {name} replaces nothing; did you mean {match[0]}?" for name, match in near if match
    )


def _names(directory: Path) -> set[str]:
    return {file.name for file in directory.iterdir()} if directory.is_dir() else set()
