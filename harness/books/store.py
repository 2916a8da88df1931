"""Weights by digest: in memory while they are used, on disk while something refers to them.

A folder is written under a temporary name, synced and renamed before anything refers to it, so a kill never leaves a
half-written adapter under its digest. Weights read from disk are checked against the digest that names their folder.
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
        root: the folder of kept artefacts, each in a folder named by its digest.
        cache_bytes: the most bytes of weights on disk that also stay in memory.
    """

    def __init__(self, root: Path, cache_bytes: int = 2**30) -> None:
        self.root = root
        self._cache_bytes = cache_bytes
        self._passing: dict[str, Artefact] = {}
        self._cached: OrderedDict[str, Artefact] = OrderedDict()

    def put(self, artefact: Artefact) -> str:
        """Hold weights in memory until :meth:`persist` writes or :meth:`drop` discards them; returns their digest."""
        digest = artefact.digest()
        if digest not in self._cached:
            self._passing[digest] = artefact
        return digest

    def adapter(self, digest: str, /) -> Any:
        """The weights of that digest.

        Raises:
            RunError: they are neither in memory nor on disk (released, or made by another run).
            Damaged: the weights on disk do not match the digest.
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
        """The weights of that digest as a folder.

        Weights that are only in memory are written out first, to a folder that goes when they are dropped or persisted.

        Raises:
            RunError: there are no such weights, or they cannot be written.
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
        """The folder of kept weights; a LoRA adapter there is in the format that ``peft`` loads."""
        return self.root / digest

    def persist(self, digest: str) -> None:
        """Write weights to disk, completely or not at all. Raises :class:`RunError` where that fails."""
        if not self.path(digest).is_dir():
            self._write(digest, self.path(digest))
        if digest in self._passing:
            self._remember(digest, self._passing[digest])
        self.drop(digest)

    def drop(self, digest: str) -> None:
        """Discard weights that were never persisted."""
        self._passing.pop(digest, None)
        shutil.rmtree(self._passing_path(digest), ignore_errors=True)

    def remove(self, digest: str) -> None:
        """Delete weights that nothing refers to any more."""
        self.drop(digest)
        self._cached.pop(digest, None)
        shutil.rmtree(self.path(digest), ignore_errors=True)

    def held(self) -> list[str]:
        """The digests of all weights on disk, by the names of their folders."""
        return sorted(path.name for path in self.root.glob("[!.]*"))

    def damaged(self) -> list[str]:
        """The digests whose weights on disk do not match them, or cannot be read."""
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
    """Load the weights in a folder that is named by their digest.

    Raises:
        Damaged: they cannot be read, or have another digest.
    """
    from harness.books.artefacts import load_artefact

    try:
        artefact: Artefact = load_artefact(folder)
        whole = artefact.digest() == folder.name
    except MemoryError:
        raise
    except Exception:  # exceptions of safetensors and JSON, missing files and keys: all mean damage
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
