"""The shipped sources, parsed once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOTS = {
    "jit_middleware": ROOT,
    "jit_middleware_redis": ROOT / "adapters",
    "jit_middleware_sqlalchemy": ROOT / "adapters",
}


@dataclass(frozen=True, slots=True)
class Source:
    """One file of the shipped packages: its dotted module name, text and syntax tree."""

    module: str
    path: Path
    text: str
    tree: ast.Module

    def at(self, node: ast.AST) -> str:
        """Where a node is, as an editor opens it."""
        return f"{self.path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"

    def is_in(self, *rooms: str) -> bool:
        """Whether the module is one of these, or inside one of them."""
        return any(self.module == room or self.module.startswith(f"{room}.") for room in rooms)


@cache
def sources() -> tuple[Source, ...]:
    """Every Python file that is shipped."""
    return tuple(
        _parsed(path, root) for package, root in ROOTS.items() for path in sorted((root / package).rglob("*.py"))
    )


def imports(source: Source) -> Iterator[tuple[ast.stmt, str]]:
    """Each import with the dotted name it reaches for; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source.at(node)}: imports name their module in full"
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)


def _parsed(path: Path, root: Path) -> Source:
    parts = path.relative_to(root).with_suffix("").parts
    text = path.read_text(encoding="utf-8")
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Source(name, path, text, ast.parse(text, str(path)))
