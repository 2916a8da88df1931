"""What a component's code is, as a digest: a result is never reused under changed source.

A fingerprint covers the module that defines the class, every module of the same top-level package that it imports
(followed through the source, without executing anything), and the small data files beside them. So a change in one
plugin file touches exactly the components that can reach it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from functools import cache
from pathlib import Path

_DATA_SUFFIXES = frozenset({".toml", ".json", ".txt", ".md", ".yaml", ".yml", ".csv"})
_DATA_LIMIT = 1_000_000
# The contract and the codec change with every release without changing what a component computes.
_NOT_FOLLOWED = frozenset({"harness", "harness.api", "harness.markers", "harness.errors", "harness.hookspecs"})


def of_class(cls: type) -> str:
    """Digest of the source that ``cls`` can reach in its own package."""
    return of_module(cls.__module__)


@cache
def of_module(name: str) -> str:
    """Digest of a module and what it imports from its own top-level package."""
    seen: dict[str, Path] = {}
    _follow(name, name.partition(".")[0], seen)
    digest = hashlib.sha256()
    folders = set()
    for module in sorted(seen):
        digest.update(module.encode() + b"\0" + seen[module].read_bytes() + b"\0")
        if module != "harness" and "." in module:
            folders.add(seen[module].parent)
    for folder in sorted(folders):
        for path in sorted(folder.rglob("*")):
            if path.suffix in _DATA_SUFFIXES and path.name != "README.md" and path.stat().st_size <= _DATA_LIMIT:
                digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:20]


def _follow(name: str, top: str, seen: dict[str, Path]) -> None:
    if name in seen or name in _NOT_FOLLOWED:
        return
    path = _source(name)
    if path is None:
        return
    seen[name] = path
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parent, base] if base else parent)
            targets = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for target in targets:
            if target == top or target.startswith(top + "."):
                _follow(target, top, seen)


def _source(name: str) -> Path | None:
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if file is None:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, AttributeError, ValueError):
            return None
        file = spec.origin if spec else None
    return Path(file) if file and file.endswith(".py") else None
