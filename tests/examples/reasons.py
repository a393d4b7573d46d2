"""Finds every code and every reason the package can refuse with, by reading its source: the page on errors lists them."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

from jit_middleware import errors
from jit_middleware.errors import ConfigurationError, JITError
from jit_middleware.model import Status
from jit_middleware.sso.oidc.reasons import Reason
from jit_middleware.sso.saml.reasons import Reason as SAMLReason

ROOT = Path(__file__).parents[2]
PACKAGES = (ROOT / "jit_middleware", ROOT / "adapters" / "jit_middleware_sqlalchemy")
#: Tables from a database's error code or key to our reason.
NAMED_REASONS = ("_REASONS", "_KEYS", "_PRIMARY_KEYS")
NOT_PART_OF_A_SIGN_ON = ("testing", "demo", "cli", "migrations")


def sources() -> Iterator[tuple[Path, ast.Module]]:
    """The modules that can refuse a request, parsed."""
    for package in PACKAGES:
        for path in sorted(package.rglob("*.py")):
            if not set(NOT_PART_OF_A_SIGN_ON).intersection(path.relative_to(package).parts):
                yield path, ast.parse(path.read_text("utf-8"))


def error_classes() -> set[str]:
    """The names of our errors that carry a reason, wherever they are declared."""
    names = {
        name
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, JITError) and kind is not ConfigurationError
    }
    for _, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and names.intersection(
                base.id for base in node.bases if isinstance(base, ast.Name)
            ):
                names.add(node.name)
    return names


def codes() -> set[str]:
    """Every public code: the class attributes, and what a page or a JSON answer is given as ``code=``."""
    found: set[str] = set()
    for _, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found.update(_code_of(node))
            elif isinstance(node, ast.keyword) and node.arg == "code":
                found.update(text for text in _texts(node.value) if "_" in text)  # no sample text of a trial page
    return found


def reasons() -> set[str]:
    """The first argument of every error of ours that is made, ``account_{…}`` spelt out, and the names of the rooms of ``sso``."""
    names = error_classes()
    found = {reason.value for reason in (*Reason, *SAMLReason)}
    for _, tree in sources():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.AnnAssign)
                and isinstance(node.target, ast.Name)
                and node.target.id in NAMED_REASONS
            ):
                found.update(text for value in _values(node.value) for text in _texts(value))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names and node.args:
                found.update(_texts(node.args[0]))
    return found


def _values(node: ast.AST | None) -> Iterator[ast.AST]:
    if isinstance(node, ast.Dict):
        yield from node.values


def _code_of(node: ast.ClassDef) -> Iterator[str]:
    for statement in node.body:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
        if isinstance(target, ast.Name) and target.id == "code":
            yield from _texts(getattr(statement, "value", None))


def _texts(node: ast.AST | None) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from _texts(body)
            yield from _texts(orelse)
        case ast.JoinedStr(values=[ast.Constant(value="account_"), *_]):
            yield from (f"account_{status.value}" for status in Status if status is not Status.ACTIVE)
        case _:
            return
