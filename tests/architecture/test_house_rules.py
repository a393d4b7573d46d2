"""Rules of the house that linters do not know: who may catch all, who may build what, how long a file may be."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import TypeVar

from tests.architecture.sources import Source, imports, sources

MOST_LINES = 400
#: Where nobody is left above who could be told: the edges, and what is begun and not waited for.
LAST_RESORTS = ("jit_middleware.wsgi", "jit_middleware.asgi", "jit_middleware.bridge", "jit_middleware.offload")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
CATCH_ALL = {"Exception", "BaseException"}

Node = TypeVar("Node", bound=ast.AST)


def test_every_shipped_file_is_judged() -> None:
    modules = {source.module for source in sources()}
    assert {"jit_middleware.errors", "jit_middleware.model", "jit_middleware.ports"} <= modules
    assert any(module.startswith("jit_middleware_sqlalchemy") for module in modules)


def test_only_last_resorts_swallow_everything() -> None:
    offenders = [
        source.at(handler)
        for source in sources()
        if not source.is_in(*LAST_RESORTS)
        for handler in nodes(source, ast.ExceptHandler)
        if catches_everything(handler.type) and not passes_on(handler)
    ]
    assert offenders == []


def test_only_the_bridge_gives_up_on_types() -> None:
    offenders = [
        source.at(node)
        for source in sources()
        if not source.is_in("jit_middleware.bridge")
        for node, name in imports(source)
        if name in {"typing.Any", "typing_extensions.Any", "typing", "typing_extensions"}
    ]
    assert offenders == []


def test_only_the_verifiers_construct_a_verified_identity() -> None:
    offenders = [
        source.at(call)
        for source in sources()
        if not source.is_in("jit_middleware.sso") and not source.is_in("jit_middleware.testing")
        for call in nodes(source, ast.Call)
        if last_name(call.func) == "VerifiedIdentity"
    ]
    assert offenders == []


def test_a_verified_identity_is_constructed_somewhere() -> None:
    builders = [
        source.module
        for source in sources()
        if source.is_in("jit_middleware.sso")
        for call in nodes(source, ast.Call)
        if last_name(call.func) == "VerifiedIdentity"
    ]
    assert builders != []


def test_nothing_is_left_unfinished() -> None:
    offenders = [
        f"{source.path.name}:{number}"
        for source in sources()
        for number, line in enumerate(source.text.splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert offenders == []


def test_files_are_short_enough_to_read() -> None:
    long = {source.module: count for source in sources() if (count := source.text.count("\n")) > MOST_LINES}
    assert long == {}


def test_every_module_says_what_it_is_for() -> None:
    silent = [source.module for source in sources() if source.tree.body and ast.get_docstring(source.tree) is None]
    assert silent == []


def test_annotations_are_never_evaluated_at_import() -> None:
    offenders = [
        source.module
        for source in sources()
        if any(not is_docstring(node) for node in source.tree.body)
        if not any(name == "__future__.annotations" for _, name in imports(source))
    ]
    assert offenders == []


def test_time_and_chance_are_not_reached_for_by_another_name() -> None:
    offenders = [
        f"{source.at(call)} {name}"
        for source in sources()
        if not source.is_in(
            "jit_middleware.system", "jit_middleware.demo", "jit_middleware.cli", "jit_middleware.testing"
        )
        for call in nodes(source, ast.Call)
        if (name := dotted(call.func))
        in {"datetime.now", "datetime.utcnow", "datetime.datetime.now", "os.urandom", "uuid.uuid4", "uuid4"}
    ]
    assert offenders == []


# --- reading the tree -------------------------------------------------------------------------------------------------


def nodes(source: Source, kind: type[Node]) -> Iterator[Node]:
    return (node for node in ast.walk(source.tree) if isinstance(node, kind))


def catches_everything(caught: ast.expr | None) -> bool:
    if caught is None:
        return True
    kinds = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(last_name(kind) in CATCH_ALL for kind in kinds)


def passes_on(handler: ast.ExceptHandler) -> bool:
    """Whether it swallows nothing: it ends with a bare ``raise``, or by giving the error to who waits for the result."""
    match handler.body[-1]:
        case ast.Raise(exc=None):
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr="set_exception"), args=[ast.Name(id=given)])):
            return given == handler.name
        case _:
            return False


def last_name(node: ast.expr) -> str:
    return dotted(node).rpartition(".")[2]


def dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attribute):
            return f"{dotted(value)}.{attribute}"
        case _:
            return ""


def is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
