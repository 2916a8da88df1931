"""Records the files that a component reads while it is constructed and called, and tells whether they have changed.

An audit hook of the interpreter sees every file that Python code opens. A file opened while a component runs is noted
for that component and for those that called it. It is also noted for the plugin modules whose functions opened it,
because a module may cache what it read for every component that can reach the module. A journal item carries the
digests of the files noted for the components that made it, and is reused only while all of them are unchanged.

Not noted: the standard library and installed packages other than plugins (their versions identify them), the run's own
folder, files that components themselves write, checkpoints (a model's digest covers them), and anything read under
:func:`untracked`. Not seen: files that native code opens by itself, and files that another process reads.
"""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

_T = TypeVar("_T")
_Stamp = tuple[int, int, int, int]
"""Modification and change time in nanoseconds, size in bytes, inode."""
_Entry = _Stamp | str | None
"""A file's stamp when it was opened; its digest where that is known already; None where there was no file."""

NATIVE = frozenset({".safetensors", ".gguf"})
"""Formats that native code reads without Python seeing it; they are noted when a JSON file beside them is read."""
ABSENT = "absent"
UNKNOWN = "changed while it was in use"
_EVENTS = frozenset({"open", "os.listdir", "os.scandir", "os.rename", "sqlite3.connect"})
_MACHINE = ("/proc/", "/sys/", "/dev/")
_SETTLED_NS = 100_000_000
"""A file written more recently than this may be written again without its time stamp changing."""

_local = threading.local()
_active: list[Reader] = []
_but: list[tuple[str, ...]] = []
"""Parallel to ``_active``: paths that are accounted for elsewhere while the reader's code runs."""
_by_module: dict[str, dict[str, _Entry]] = {}
_written: set[str] = set()
"""Files whose whole content components wrote."""
_own_folders: set[str] = set()
_digested: set[str] = set()
_checkpoints: set[str] = set()
plugin_packages: set[str] = set()
"""Top-level packages of the distributions that register plugins: they count wherever they are installed."""
_sites: tuple[str, ...] = ()
_library: tuple[str, ...] = ()
_digests: dict[tuple[str, _Stamp], str] = {}
_watching = False


class Reader:
    """The files that a component depends on.

    Args:
        modules: plugin modules that the component can reach; see this module's docstring.
        parts: readers of the components that it wraps.
    """

    def __init__(self, modules: Collection[str] = (), parts: Sequence[Reader] = ()) -> None:
        self._modules = frozenset(modules)
        self._parts = tuple(parts)
        self.noted: dict[str, _Entry] = {}

    def note(self, files: Mapping[str, _Entry]) -> None:
        """Note files. One whose content differs from an earlier note becomes :data:`UNKNOWN`: results may rest on
        both."""
        for path, entry in files.items():
            known = self.noted.setdefault(path, entry)
            if known != entry and _content_at(path, known) != _content_at(path, entry):
                self.noted[path] = UNKNOWN

    def entries(self) -> dict[str, _Entry]:
        """Everything noted so far for this reader, its parts and its modules."""
        out: dict[str, _Entry] = {}
        for part in self._parts:
            out |= part.entries()
        for module in self._modules & _by_module.keys():
            out |= _by_module[module]
        return out | self.noted

    def files(self) -> dict[str, str]:
        """Absolute path -> digest of the content read there; :data:`UNKNOWN` where it changed before it was
        digested."""
        return {path: _settled(path, entry) for path, entry in sorted(self.entries().items()) if path not in _written}


def watch(packages: Iterable[str] = ()) -> None:
    """Install the audit hook, once per process; ``packages`` are added to :data:`plugin_packages`."""
    global _watching, _sites, _library
    plugin_packages.update(packages)
    _sites = tuple(f"{folder}/" for folder in sites())
    _library = tuple(f"{os.path.abspath(sysconfig.get_path(name))}/" for name in ("stdlib", "platstdlib"))
    if not _watching:
        sys.addaudithook(_hook)
        _watching = True


def sites() -> list[str]:
    """The folders of the import path into which distributions are installed."""
    out = []
    for folder in dict.fromkeys(os.path.abspath(entry) for entry in sys.path):
        try:
            if any(name.endswith(".dist-info") for name in os.listdir(folder)):
                out.append(folder)
        except OSError:
            continue
    return out


def call(reader: Reader, run: Callable[[], _T], but: Sequence[str] = ()) -> _T:
    """Run a component's code. The files it depends on are noted for its callers too.

    Args:
        but: absolute paths of files, or of whole folders, that are accounted for elsewhere.
    """
    _active.append(reader)
    _but.append(tuple(but))
    try:
        return run()
    finally:
        _active.pop()
        _but.pop()
        if _active:
            note(reader.entries())


def put_aside() -> tuple[list[Reader], list[tuple[str, ...]]]:
    """The readers that are being called now, for :func:`take_up`."""
    return list(_active), list(_but)


def take_up(aside: tuple[list[Reader], list[tuple[str, ...]]]) -> None:
    """Go on with readers that were put aside."""
    _active[:], _but[:] = aside


def iterate(reader: Reader, values: Iterable[_T]) -> Iterator[_T]:
    """The values of a component's generator, each computed under :func:`call`."""
    iterator = iter(values)
    end: Any = object()
    while (value := call(reader, lambda: next(iterator, end))) is not end:
        yield value


def note(files: Mapping[str, _Entry]) -> None:
    """Note files for every component that is being called now."""
    if files:
        for reader in _active:
            reader.note(files)


@contextmanager
def untracked() -> Iterator[None]:
    """For files that cannot change a result: caches keyed by everything that made them, price tables, logs."""
    _local.off = int(getattr(_local, "off", 0)) + 1
    try:
        yield
    finally:
        _local.off -= 1


def own(folder: Path) -> None:
    """Exclude a run's own folder: everything in it was made from inputs that are noted already."""
    _own_folders.add(f"{os.path.abspath(folder)}/")


def digested(folder: Path, names: Iterable[str]) -> None:
    """Exclude the files of a checkpoint that its digest covers."""
    for root in {os.path.abspath(folder), os.path.realpath(folder)}:
        _checkpoints.add(root)
        _digested.update(os.path.join(root, name) for name in names)


def forget_module(module: str) -> None:
    """Forget what a module read: it is about to be executed again."""
    _by_module.pop(module, None)


def changed(files: Mapping[str, str]) -> list[str]:
    """The paths whose content is no longer what the digests say, or that no longer exist."""
    return [path for path, digest in files.items() if digest_of(path) != digest]


def digest_of(path: str) -> str:
    """Digest of a file's content, or of the names in a folder; a file is read again only when its stamp has changed."""
    with untracked():
        if os.path.isdir(path):
            return _listing(path)
        stamp = _stamp(path)
        return ABSENT if stamp is None else _content(path, stamp)


def _content(path: str, stamp: _Stamp) -> str:
    known = _digests.get((path, stamp))
    if known is not None:
        return known
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:40]
    except OSError:
        return ABSENT
    if time.time_ns() - max(stamp[0], stamp[1]) > _SETTLED_NS:
        _digests[path, stamp] = digest
    return digest


def _settled(path: str, entry: _Entry) -> str:
    if isinstance(entry, str):
        return entry
    with untracked():
        if _stamp(path) != entry:
            return UNKNOWN
        return ABSENT if entry is None else _content(path, entry)


def _content_at(path: str, entry: _Entry) -> str:
    """The digest of the content that an entry stands for, or :data:`UNKNOWN` where it can no longer be computed."""
    if entry is None or isinstance(entry, str):
        return entry or ABSENT
    return _digests.get((path, entry)) or _settled(path, entry)


def _stamp(path: str) -> _Stamp | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _listing(path: str) -> str:
    try:
        names = os.listdir(path)
    except OSError:
        return ABSENT
    mine = [n for n in names if n != "__pycache__" and os.path.join(path, n) not in _written]
    return "names " + hashlib.sha256("\0".join(sorted(mine)).encode("utf-8", "surrogateescape")).hexdigest()[:34]


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _EVENTS or bool(getattr(_local, "off", 0)):
        return
    with untracked():
        _see(event, arguments)


def _see(event: str, arguments: tuple[Any, ...]) -> None:
    target = arguments[0]
    if target is None and event in {"os.listdir", "os.scandir"}:
        target = "."
    if not isinstance(target, (str, bytes, os.PathLike)):
        return  # an open file descriptor
    path = os.path.abspath(os.fsdecode(target))
    if event == "os.rename":
        _write(os.path.abspath(os.fsdecode(arguments[1])), whole=path in _written)
        return
    if event == "open" and _writes(path, arguments[1], arguments[2]):
        return
    modules = _modules_on_the_stack()
    if modules is None or not (modules or _active) or _known_otherwise(path):
        return
    found: dict[str, _Entry] = {path: _entry(path, event)}
    if event == "open" and path.endswith(".json") and os.path.dirname(path) not in _checkpoints:
        found |= {str(beside): _stamp(str(beside)) for beside in native_files(Path(path).parent)}
    for reader in tuple(_active):
        reader.note(found)
    for module in modules:
        _by_module.setdefault(module, {}).update(found)


def native_files(folder: Path) -> list[Path]:
    """Files of a folder in the formats of :data:`NATIVE`."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix in NATIVE)
    except OSError:
        return []


def expect(reader: Reader, path: Path) -> None:
    """Note a file for a component that will read it by native code, unseen by the audit hook."""
    where = os.path.abspath(path)
    reader.noted.setdefault(where, _stamp(where))


def _entry(path: str, event: str) -> _Entry:
    if event in {"os.listdir", "os.scandir"}:
        return _listing(path)
    return _stamp(path)


def _writes(path: str, mode: str | None, flags: int) -> bool:
    """Whether a file is opened for writing only."""
    if mode is not None:
        _write(path, whole="w" in mode or "x" in mode)
        return any(letter in mode for letter in "wxa")
    made = bool(flags & (os.O_TRUNC | os.O_EXCL) or (flags & os.O_CREAT and not os.path.exists(path)))
    _write(path, whole=made)
    return made or flags & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR) == os.O_WRONLY


def _write(path: str, whole: bool) -> None:
    """Keep account of the files that components wrote: one that anybody else writes is no longer theirs."""
    if whole and _active:
        _written.add(path)
    elif whole:
        _written.discard(path)


def _modules_on_the_stack() -> set[str] | None:
    """Modules of neither the harness nor the standard library, from the frame that opens a file up to the component's
    call; None while Python reads source code."""
    frame = sys._getframe(3)
    # The fingerprint covers sources; they are also read to quote them in a traceback.
    if frame.f_code.co_filename.startswith("<frozen ") or frame.f_globals.get("__name__") in {"tokenize", "linecache"}:
        return None
    found: set[str] = set()
    at: Any = frame
    while at is not None and at.f_code is not call.__code__:
        name = at.f_globals.get("__name__")
        if isinstance(name, str):
            top = name.partition(".")[0]
            if top != "harness" and top not in sys.stdlib_module_names:
                found.add(name)
        at = at.f_back
    return found


def _known_otherwise(path: str) -> bool:
    if path.endswith(".pyc") or path.startswith(_MACHINE) or path in _written or path in _digested:
        return True
    if any(f"{path}/".startswith(folder) for folder in _own_folders):
        return True
    if _but and any(f"{path}/".startswith(f"{one}/") for one in _but[-1]):
        return True
    for site in _sites:
        if path.startswith(site):
            return path[len(site) :].partition("/")[0] not in plugin_packages
    return path.startswith(_library)
