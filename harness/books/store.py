"""Weights by digest: in memory while they are used, on disk while something refers to them.

A folder is written under a temporary name, synced and renamed before anything refers to it, so a kill never leaves a
half-written adapter under its digest. Weights read from disk are held against the digest that they are called by.
"""

from __future__ import annotations

import os
import shutil
from collections import OrderedDict
from pathlib import Path
from typing import Any

from harness.api import Artefact
from harness.errors import Damaged, RunError


class WeightStore:
    """The weights of one run: the :class:`harness.api.WeightSource` of its models.

    Args:
        root: where kept artefacts go, each in a folder named by its digest.
        cache_bytes: how much of what is on disk also stays in memory.
    """

    def __init__(self, root: Path, cache_bytes: int = 2**30) -> None:
        self.root = root
        self._cache_bytes = cache_bytes
        self._passing: dict[str, Artefact] = {}
        self._cached: OrderedDict[str, Artefact] = OrderedDict()

    def put(self, artefact: Artefact) -> str:
        """Hold weights in memory until :meth:`persist` writes or :meth:`drop` forgets them; answers their digest."""
        digest = artefact.digest()
        if digest not in self._cached:
            self._passing[digest] = artefact
        return digest

    def adapter(self, digest: str, /) -> Any:
        """The weights of that digest.

        Raises:
            RunError: they are neither in memory nor on disk (released, or made by another run).
            Damaged: what is on disk under that digest has another one.
        """
        if digest in self._passing:
            return self._passing[digest]
        if digest in self._cached:
            self._cached.move_to_end(digest)
            return self._cached[digest]
        path = self.path(digest)
        if not path.is_dir():
            raise RunError(f"weights {digest[:12]} are not in {self.root}; they were released, or are another run's")
        artefact = check_weights(path)
        self._remember(digest, artefact)
        return artefact

    def folder(self, digest: str, /) -> Path:
        """The same as files. What is in memory only is written out first, and goes when it is dropped or persisted.

        Raises:
            RunError: there are no such weights, or the disk refuses.
        """
        if self.path(digest).is_dir():
            return self.path(digest)
        passing = self._passing_path(digest)
        if not passing.is_dir():
            self._write(digest, passing)
        return passing

    def has(self, digest: str) -> bool:
        return digest in self._passing or digest in self._cached or self.path(digest).is_dir()

    def path(self, digest: str) -> Path:
        """Where kept weights lie: a LoRA adapter there is in the format that ``peft`` loads."""
        return self.root / digest

    def persist(self, digest: str) -> None:
        """Put weights on disk, whole or not at all."""
        if not self.path(digest).is_dir():
            self._write(digest, self.path(digest))
        if digest in self._passing:
            self._remember(digest, self._passing[digest])
        self.drop(digest)

    def drop(self, digest: str) -> None:
        """Let go of weights that were never kept."""
        self._passing.pop(digest, None)
        shutil.rmtree(self._passing_path(digest), ignore_errors=True)

    def remove(self, digest: str) -> None:
        """Delete weights that nothing refers to any more."""
        self.drop(digest)
        self._cached.pop(digest, None)
        shutil.rmtree(self.path(digest), ignore_errors=True)

    def held(self) -> list[str]:
        """Digests under which something lies on disk."""
        return sorted(path.name for path in self.root.glob("[!.]*"))

    def damaged(self) -> list[str]:
        """Digests under which something else lies on disk."""
        bad = []
        for digest in self.held():
            try:
                check_weights(self.path(digest))
            except Damaged:
                bad.append(digest)
        return bad

    def _passing_path(self, digest: str) -> Path:
        return self.root / f".{digest}.{os.getpid()}.passing"

    def _write(self, digest: str, final: Path) -> None:
        artefact = self.adapter(digest)
        partial = self.root / f".{digest}.{os.getpid()}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            artefact.save(partial)
            for path in partial.iterdir():
                _sync(path)
            os.replace(partial, final)
            _sync(self.root)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise RunError(
                f"weights could not be written to {self.root}: {error.strerror or error}; the journal is intact"
            ) from error

    def _remember(self, digest: str, artefact: Artefact) -> None:
        self._cached[digest] = artefact
        while len(self._cached) > 1 and sum(_size(self.path(d)) for d in self._cached) > self._cache_bytes:
            self._cached.popitem(last=False)


def check_weights(folder: Path) -> Artefact:
    """The weights in a folder named by their digest.

    Raises:
        Damaged: they cannot be read, or have another digest.
    """
    from harness.books.artefacts import load_artefact

    try:
        artefact: Artefact = load_artefact(folder)
        whole = artefact.digest() == folder.name
    except MemoryError:
        raise
    except Exception:  # safetensors' own exceptions, JSON's, missing files and keys: all say the same
        whole = False
    if not whole:
        raise Damaged(folder, run=folder.parents[1])
    return artefact


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir()) if folder.is_dir() else 0


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
