"""The adapters that a vLLM server holds for this process.

The server keys its prefix cache by an adapter's name and path, and answers a name that it knows from what it loaded
first. So both are made from the digests of the weights: other weights have another name. An adapter is never loaded in
place of another (``load_inplace``): the flag sticks to the server's requests, which then read the files at every step.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import tempfile
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.models.vllm.server import RankTooLarge, VllmServer

if TYPE_CHECKING:
    from harness.engine import Adapter

_HIGH = 1024
"""A rank above every maximum that a server can have."""


class Shelf:
    """Loads stacks of adapters, each folded into one adapter, and gives up those that were used longest ago.

    Args:
        folder: where the adapters' files are left for the server; "" makes a temporary folder. Either is seen under
            the same path by the server, and what is left there goes with this process.
        base: an adapter that changes nothing. It stands for the empty stack, since a server may give a request without
            an adapter the adapter of another request in its batch.
    """

    def __init__(self, server: VllmServer, folder: str, base: Adapter) -> None:
        self._server = server
        self._base = base
        if folder and not Path(folder).is_dir():
            raise UsageError(f"model vllm: adapters is {folder!r}, which is no folder")
        self._folder = Path(tempfile.mkdtemp(prefix="harness-vllm-", dir=folder or None)).absolute()
        self._held: OrderedDict[str, None] = OrderedDict()
        weakref.finalize(self, _leave, server, self._held, self._folder)
        self.max_rank = self._find_max_rank()

    def load(self, stack: Sequence[Adapter]) -> str:
        """The name under which the server answers as the base with these adapters, loaded if it was not.

        Raises:
            RankTooLarge: the folded adapter's rank exceeds the server's maximum.
            UsageError: the server does not take the adapter.
        """
        from harness.engine import fold

        key = hashlib.sha256(" ".join(adapter.digest() for adapter in stack).encode()).hexdigest()
        name = f"{self._folder.name}-{key[:24]}"
        if name not in self._held:
            self._load(name, fold(stack) if stack else self._base)
        self._held.move_to_end(name)
        return name

    def trim(self, keep: int) -> None:
        """Have the server forget all but the ``keep`` adapters that were used last. Nothing may be in flight."""
        while len(self._held) > keep:
            name, _ = self._held.popitem(last=False)
            self._server.unload(name)
            shutil.rmtree(self._folder / name, ignore_errors=True)

    def forget(self) -> None:
        """The server holds nothing any more: it was started again."""
        self._held.clear()

    def _load(self, name: str, adapter: Adapter) -> None:
        path = self._folder / name
        dataclasses.replace(adapter, optimizer=None).save(path)
        self._server.load(name, path, adapter.rank)
        self._held[name] = None

    def _find_max_rank(self) -> int:
        """The server's ``--max-lora-rank``, which only its refusal of a larger rank tells.

        Raises:
            UsageError: the server takes no adapters.
        """
        import torch

        from harness.engine import Adapter

        name, (a, b) = min(self._base.weights.items(), key=lambda item: item[1][0].numel() + item[1][1].numel())
        weights = {name: (torch.zeros(_HIGH, a.shape[1]), torch.zeros(b.shape[0], _HIGH))}
        probe = f"{self._folder.name}-rank"
        try:
            self._load(probe, Adapter(weights, _HIGH, float(_HIGH), self._base.targets))
        except RankTooLarge as error:
            return error.most
        finally:
            shutil.rmtree(self._folder / probe, ignore_errors=True)
        self._held.pop(probe)
        self._server.unload(probe)
        return _HIGH


def _leave(server: VllmServer, held: OrderedDict[str, None], folder: Path) -> None:
    for name in held:
        server.unload(name)
    shutil.rmtree(folder, ignore_errors=True)
