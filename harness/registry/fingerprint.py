"""A digest of a component's source code, so that no result is reused after the code changed.

A fingerprint covers the module that defines the class and every module that it can import, anywhere in its code;
imports are followed through the sources, without executing anything. Covered are modules of the harness, of the
plugin's distribution, and of any other place that is not an installed package, with the data files in their folders; of
installed packages, the versions. The same holds for the base classes. Comments, formatting, docstrings that no code
reads, and imports for type checkers do not count. Files read at run time are left to :mod:`harness.reads`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from harness import reads
from harness.errors import PluginError
from harness.registry import source

# These modules change with every release without changing what a component computes.
_NOT_FOLLOWED = frozenset(
    {"harness", "harness.api", "harness.markers", "harness.errors", "harness.hookspecs", "harness.reads"}
)
_CORE = Path(__file__).parents[1]
_RECORDED = frozenset({"torch", "transformers", "peft", "numpy"})
"""Packages whose versions are recorded in the run's environment."""
_NO_DATA = frozenset({".py", ".pyc", ".pyi", ".so", ".toml"})
"""Suffixes of files that are not data. TOML is left out because Python code reads it, which :mod:`harness.reads`
sees."""


@dataclass(frozen=True)
class Fingerprint:
    """The source that a class depends on."""

    digest: str
    modules: frozenset[str]
    """The modules that it can reach, except the harness's."""
    installed: Mapping[str, str] = field(default_factory=dict)
    """Distributions that those modules import, with their versions."""


def of_class(cls: type, also: Iterable[str] = ()) -> Fingerprint:
    """The fingerprint of a class and its base classes.

    Args:
        also: names of further modules, such as one that a setting names and that is imported when the component runs.

    Raises:
        PluginError: a module was edited after this process had imported it, so the code that runs is not in the file.
    """
    starts = {base.__module__ for base in cls.__mro__} | set(also)
    return _of_modules(frozenset(starts))


def forget() -> None:
    """Clear the caches: sources may have been edited since this process read them."""
    _of_modules.cache_clear()
    _spec.cache_clear()
    _is_installed.cache_clear()


@cache
def _of_modules(starts: frozenset[str]) -> Fingerprint:
    walk = _Walk()
    for start in sorted(starts):
        walk.follow(start, None)
    digest = hashlib.sha256()
    reads_of = {found.reads for found, _ in walk.seen.values()}
    for module, (found, path) in sorted(walk.seen.items()):
        _check_loaded(module, path, found)
        content = found.text if "text" in reads_of else found.documented if "docstrings" in reads_of else found.code
        digest.update(f"{module}\0{content}\0".encode())
    for name, path in sorted(_data_files({module: path for module, (_, path) in walk.seen.items()})):
        digest.update(f"{name}\0{reads.digest_of(str(path))}\0".encode())
    for name in sorted(walk.installed):
        digest.update(f"{name}=={_version(name)}\0".encode())
    mine = frozenset(module for module in walk.seen if module.partition(".")[0] != "harness")
    distributions = {name for top in walk.installed for name in _distributions().get(top, ())}
    return Fingerprint(digest.hexdigest()[:20], mine, {name: metadata.version(name) for name in sorted(distributions)})


class _Walk:
    """The modules that can be reached by following imports."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[source.Source, Path]] = {}
        self.installed: set[str] = set()
        """Top-level names of installed packages that modules outside the harness import."""
        self._acting: dict[str, bool] = {}

    def follow(self, name: str, importer: Path | None) -> None:
        """Add a module, and every module that it can import."""
        if name in self.seen or name in _NOT_FOLLOWED:
            return
        found = _source(name, importer)
        if found is None:
            top = name.partition(".")[0]
            if importer and not importer.is_relative_to(_CORE) and top not in _RECORDED and _is_installed(top):
                self.installed.add(top)
            return
        self.seen[name] = found
        around = name
        while around := around.rpartition(".")[0]:
            # The packages around a module are executed before it; they count if their code has effects.
            if self._acts(around, importer):
                self.follow(around, importer)
        for target in found[0].imports:
            self.follow(target, found[1])

    def _acts(self, name: str, importer: Path | None) -> bool:
        if name in _NOT_FOLLOWED or name in self._acting:
            return self._acting.get(name, False)
        self._acting[name] = False
        if found := _source(name, importer):
            self._acting[name] = found[0].acts or any(self._acts(target, found[1]) for target in found[0].at_once)
        return self._acting[name]


def _source(name: str, importer: Path | None) -> tuple[source.Source, Path] | None:
    """The source of a module and its path; None for a module that is not followed."""
    top = name.partition(".")[0]
    if not top.isidentifier() or top in sys.stdlib_module_names or top in _RECORDED or _is_installed(top):
        return None
    path = _locate(name, importer)
    if path is None or path.suffix != ".py":
        return None
    return source.read(path, name, package=path.name == "__init__.py"), path


@cache
def _is_installed(top: str) -> bool:
    """Whether a package is installed by a distribution that is not a plugin."""
    if top == "harness" or top in reads.plugin_packages:
        return False
    spec = _spec(top)
    where = (spec.origin or next(iter(spec.submodule_search_locations or ()), "")) if spec else ""
    return bool(where) and any(Path(where).is_relative_to(site) for site in reads.sites())


def _locate(name: str, importer: Path | None) -> Path | None:
    """The file of a module, found without importing anything; it may lie beside the file that imports it."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if file is None and (spec := _spec(name)) is not None:
        file = spec.origin if spec.has_location else None
    if file is None and importer is not None and "." not in name:
        beside = (importer.parent / f"{name}.py", importer.parent / name / "__init__.py")
        file = next((str(path) for path in beside if path.is_file()), None)
    return Path(file) if file else None


@cache
def _spec(name: str) -> ModuleSpec | None:
    package, _, _ = name.rpartition(".")
    try:
        if not package:
            return importlib.util.find_spec(name)
        places = getattr(sys.modules.get(package), "__path__", None)
        if places is None:
            parent = _spec(package)
            places = parent.submodule_search_locations if parent else None
        return PathFinder.find_spec(name, list(places)) if places else None
    except (ImportError, AttributeError, ValueError):
        return None


def _data_files(modules: dict[str, Path]) -> Iterator[tuple[str, Path]]:
    """The data files in the folders of packages' modules, each with its path relative to the top-level package."""
    folders: dict[Path, Path] = {}
    for module, path in modules.items():
        depth = module.count(".") + (path.name == "__init__.py")
        if depth and path.parent != _CORE:
            folders[path.parent] = path.parents[depth]
    seen = set()
    for folder, root in folders.items():
        for path in folder.rglob("*"):
            hidden = any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(folder).parts)
            if hidden or path in seen or path.suffix in _NO_DATA or path.name == "README.md" or not path.is_file():
                continue
            seen.add(path)
            yield path.relative_to(root).as_posix(), path


def _version(top: str) -> str:
    names = _distributions().get(top, ())
    return ",".join(sorted(metadata.version(name) for name in set(names)))


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())


_loaded: dict[str, tuple[ModuleType, str]] = {}
"""Module name -> the imported module object, and the digest of its code when this was first checked."""


def _check_loaded(name: str, path: Path, found: source.Source) -> None:
    module = sys.modules.get(name)
    if module is None:
        return
    before = _loaded.get(name)
    if before is None or before[0] is not module:
        _loaded[name] = module, found.code
    elif before[1] != found.code:
        raise PluginError(f"{path} was edited after this process had imported it, so the old code would run; "
                          "start a new process (in a notebook, restart the kernel)")  # fmt: skip
