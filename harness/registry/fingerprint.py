"""What a component's code is, as a digest: a result is never reused under changed source.

A fingerprint covers the module that defines the class, every module of the same top-level package that it imports
(followed through the source, without executing anything), the small data files beside them, and the same of the
classes it is derived from. So a change in one plugin file touches exactly the components that can reach it.
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
    """Digest of the source that ``cls`` and the classes it is derived from can reach, each in its own package."""
    top = cls.__module__.partition(".")[0]
    elsewhere = {base.__module__ for base in cls.__mro__ if base.__module__.partition(".")[0] != top}
    parts = [of_module(cls.__module__)]
    for module in sorted(elsewhere - _NOT_FOLLOWED):
        name = module.partition(".")[0]
        if name == "harness" or name.startswith("harness_"):
            parts.append(of_module(module))
        elif name not in sys.stdlib_module_names and (path := _source(module)):
            # Of a foreign package the one file: to follow torch through its imports would take seconds.
            parts.append(hashlib.sha256(path.read_bytes()).hexdigest()[:20])
    return parts[0] if len(parts) == 1 else hashlib.sha256("".join(parts).encode()).hexdigest()[:20]


def forget() -> None:
    """Read the sources anew: they may have been edited since this process read them."""
    of_module.cache_clear()


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
