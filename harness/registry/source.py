"""The parts of a Python file that can change a result: its code without comments, layout and docstrings, and its
imports.

A docstring counts where code may read it: if inheritance or a decorator hands its class or function to another package
(pydantic writes a class's docstring into its schema), or if code that is reached together with it uses ``__doc__``.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_NAMES_A_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+(:[\w.]+)?|[A-Za-z_]\w*:[A-Za-z_][\w.]*")
_MAY_NAME_ONE = re.compile(r"\.*[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_IMPORTERS = frozenset({"import_module", "__import__", "run_module"})
_DOC_READERS = frozenset({"__doc__", "getdoc", "get_json_schema"})
_TEXT_READERS = frozenset({"getsource", "getsourcelines", "findsource", "getcomments", "get_source"})


@dataclass(frozen=True)
class Source:
    """The digests and imports of one file."""

    code: str
    """Digest of its code."""
    documented: str
    """Digest of its code with all docstrings."""
    text: str
    """Digest of its bytes."""
    reads: Literal["nothing", "docstrings", "text"]
    """Which part of source files its code reads, its own or others'."""
    imports: tuple[str, ...]
    """Modules and attributes that any of its code imports, or names in a string such as ``"package.module:Class"``."""
    at_once: tuple[str, ...]
    """Those imported at its top level, and so whenever this module is."""
    acts: bool
    """Whether importing it does more than define names."""


_read: dict[tuple[str, str, bool], tuple[tuple[int, int, int], Source]] = {}


def read(path: Path, module: str, *, package: bool) -> Source:
    """The source of a module.

    Args:
        package: whether the file is a package's ``__init__.py``, for relative imports.

    Raises:
        SyntaxError: it is not Python of this version.
    """
    stat = path.stat()
    stamp = (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size)
    known = _read.get((str(path), module, package))
    if known is None or known[0] != stamp:
        known = stamp, _of(path.read_bytes(), module.split(".") if package else module.split(".")[:-1])
        _read[str(path), module, package] = known
    return known[1]


def _of(text: bytes, package: list[str]) -> Source:
    tree = ast.parse(text)
    origins = _origins(tree)
    _WithoutTypeImports(origins).visit(tree)
    words = set(_words(tree))
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    imports = dict.fromkeys(_imports(ast.walk(tree), package))
    imports |= dict.fromkeys(one.partition(":")[0] for one in sorted(texts) if _NAMES_A_MODULE.fullmatch(one))
    if words & _IMPORTERS:
        # Which of these strings is imported, and from where, cannot be told. One that names no module does no harm.
        for one in sorted(filter(_MAY_NAME_ONE.fullmatch, texts)):
            level = len(one) - len(one.lstrip("."))
            imports |= dict.fromkeys((one[level:], _absolute(one[level:], max(level, 1), package)))
    at_once = dict.fromkeys(_imports(iter(tree.body), package))
    acts = any(_acts(statement, origins) for statement in tree.body)
    used = words | texts
    reads: Literal["nothing", "docstrings", "text"] = "nothing"
    if used & _DOC_READERS:
        reads = "docstrings"
    if used & _TEXT_READERS:
        reads = "text"
    documented = _sha(ast.dump(tree).encode())
    _drop_docstrings(tree, origins)
    code = _sha(ast.dump(tree).encode())
    return Source(code, documented, _sha(text), reads, tuple(imports), tuple(at_once), acts)


def _sha(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _words(tree: ast.Module) -> Iterator[str]:
    """Every name and attribute that the code uses."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield node.name


def _origins(tree: ast.Module) -> dict[str, str]:
    """Name -> the top-level package that an import at the file's top level binds it from; "" for its own classes."""
    out: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Import):
            out |= {alias.asname or alias.name.partition(".")[0]: alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            out |= {alias.asname or alias.name: (node.module or "").partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ClassDef):
            plain = not node.keywords and all(_is_plain(one, out) for one in [*node.bases, *node.decorator_list])
            out |= {node.name: ""} if plain else {}
    return out


def _is_plain(node: ast.expr, origins: dict[str, str]) -> bool:
    """Whether a base class, decorator or callee is from Python, the harness, or a plain class of this file."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    if not isinstance(node, ast.Name):
        return False
    origin = origins.get(node.id)
    if origin is None:
        return hasattr(builtins, node.id)
    return origin in {"", "harness"} or origin in sys.stdlib_module_names


class _WithoutTypeImports(ast.NodeTransformer):
    """Removes the code under ``if TYPE_CHECKING``."""

    def __init__(self, origins: dict[str, str]) -> None:
        self._origins = origins

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        test = node.test
        named = isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"
        if isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING" and isinstance(test.value, ast.Name):
            named = self._origins.get(test.value.id) == "typing"
        elif named:
            named = self._origins.get("TYPE_CHECKING") == "typing"
        return (node.orelse or ast.Pass()) if named else node


def _drop_docstrings(tree: ast.Module, origins: dict[str, str]) -> None:
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.ClassDef) and node.keywords:
            continue
        handed = [*getattr(node, "decorator_list", ()), *getattr(node, "bases", ())]
        properties = {"setter", "getter", "deleter"}
        if not all((isinstance(d, ast.Attribute) and d.attr in properties) or _is_plain(d, origins) for d in handed):
            continue
        # A string further down documents a field and has no effect at run time.
        node.body = [statement for statement in node.body if not _is_text(statement)] or [ast.Pass()]


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _imports(nodes: Iterator[ast.AST], package: list[str]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node.module or "", node.level, package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _absolute(name: str, level: int, package: list[str]) -> str:
    if not level:
        return name
    return ".".join([*package[: len(package) - level + 1], *([name] if name else [])])


def _acts(statement: ast.stmt, origins: dict[str, str]) -> bool:
    """Whether a top-level statement may do more than bind names to new values."""
    if isinstance(statement, (ast.Import, ast.ImportFrom, ast.Pass)) or _is_text(statement):
        return False
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        handed = [*statement.decorator_list, *getattr(statement, "bases", ())]
        return not all(_is_plain(one, origins) for one in handed)
    if isinstance(statement, (ast.Assign, ast.AnnAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        calls = (node for node in ast.walk(statement) if isinstance(node, ast.Call))
        return not all(isinstance(t, ast.Name) for t in targets) or not all(_is_plain(c, origins) for c in calls)
    return True
