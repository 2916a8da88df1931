"""Which workers a run has: what ``--devices``, ``--executor`` and ``--address`` say. Nothing of it is in any key."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from harness.api import Model
from harness.errors import UsageError, nearest
from harness.workers.executors import Executor, places
from harness.workers.packs import Facts, Opening
from harness.workers.pool import Pool

EXECUTORS = {
    "processes": "harness.workers.executors:Processes",
    "ray": "harness.workers.ray_executor:RayActors",
}


@dataclass(frozen=True)
class Workers:
    """How many workers, where, and who starts them. By default none: models are asked in the driver's process."""

    devices: str = ""
    """See :func:`harness.workers.executors.places`; "" is no workers."""
    executor: str = ""
    """``processes`` (the default where there are devices), ``ray``, or ``module:Class``."""
    address: str = ""
    """Of a cluster that runs already; "" lets the executor make its own."""

    def __post_init__(self) -> None:
        if (self.executor or self.address) and not self.devices:
            raise UsageError("--executor and --address need --devices: cpu:2, cuda:0,1 or cuda:x4")
        if self.devices:
            self.executor_class()
            places(self.devices)

    def __bool__(self) -> bool:
        return bool(self.devices)

    def executor_class(self) -> type[Executor]:
        """The class that starts the workers.

        Raises:
            UsageError: there is none of that name, or it cannot be imported.
        """
        name = self.executor or "processes"
        target = EXECUTORS.get(name, name)
        module, _, attribute = target.partition(":")
        if not attribute:
            raise UsageError(f"no such executor {name!r}.{nearest(name, EXECUTORS)} Or name a class: module:Class")
        try:
            found = getattr(importlib.import_module(module), attribute, None)
        except ImportError as error:
            extra = " (pip install 'selfadapt-harness[ray]')" if name == "ray" else ""
            raise UsageError(f"executor {name!r} cannot be imported: {error}{extra}") from error
        if not (isinstance(found, type) and issubclass(found, Executor)):
            raise UsageError(f"executor {name!r}: {attribute} of {module} is no harness.workers.executors.Executor")
        return found

    @contextmanager
    def ahead(self) -> Iterator[None]:
        """Within the block the executor prepares what all workers need, while the driver does other things."""
        executor = self.executor_class()(places(self.devices), self.address) if self.devices else None
        try:
            yield
        finally:
            if executor is not None:
                executor.close()

    def pool(self, model: Model, settings: Any, say: Callable[[str], None]) -> tuple[Pool, Facts]:
        """A pool for a model with its first worker started, and what that one found."""
        executor = self.executor_class()(places(self.devices), self.address)
        pool = Pool(executor, Opening(type(model), settings, ""), say)
        try:
            return pool, pool.first(model.base)
        except BaseException:
            pool.close()
            raise


NO_WORKERS = Workers()
