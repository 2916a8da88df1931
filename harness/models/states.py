"""The weights of a local model's states: which adapters and full weights they have, and the latter put in place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.api import State, WeightSource
from harness.errors import PluginError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.books.artefacts import FullWeights
    from harness.engine import Adapter


@dataclass
class StateGroup:
    """The states of a bulk call that share full weights."""

    full: str
    """Digest of the full weights that replace the frozen ones; "" for none."""
    stacks: list[tuple[int, tuple[Adapter, ...]]] = field(default_factory=list)
    """Index of each state in the call, and its adapters on top of the weights."""


class StateWeights:
    """Finds the weights of a model's states. The full weights used last stay loaded.

    Args:
        base: the model's digest, which every state must have.
        weights: where adapters and full weights are found by digest.
    """

    def __init__(self, base: str, weights: WeightSource) -> None:
        self._base = base
        self._weights = weights
        self._loaded: tuple[str, Mapping[str, Tensor]] | None = None

    def groups(self, states: Sequence[State]) -> list[StateGroup]:
        """The states grouped by the full weights that replace the frozen ones (nearly always none)."""
        from harness.books.artefacts import FullWeights

        known: dict[tuple[str, ...], tuple[str, tuple[Adapter, ...]]] = {}
        loaded = self._loaded[0] if self._loaded else None
        groups: dict[str, StateGroup] = {}
        for place, state in enumerate(states):
            if state.base != self._base:
                raise PluginError(f"a state of the model {state.base} was passed to the model {self._base}")
            if state.adapters not in known:
                full, stack = "", list[Any]()
                for digest in state.adapters:
                    # Weights in place are not fetched: they may be too large for the store to hold in memory as well.
                    artefact = None if digest == loaded else self._weights.adapter(digest)
                    if artefact is None or isinstance(artefact, FullWeights):
                        full, stack = digest, []
                    else:
                        stack.append(artefact)
                known[state.adapters] = full, tuple(stack)
            below, adapters = known[state.adapters]
            group = groups.setdefault(below, StateGroup(below))
            group.stacks.append((place, adapters))
        return list(groups.values())

    def one(self, state: State) -> tuple[tuple[Adapter, ...], FullWeights | None]:
        """A state's adapters, and the full weights below them."""
        [group] = self.groups([state])
        [(_, stack)] = group.stacks
        return stack, self._weights.adapter(group.full) if group.full else None

    @contextmanager
    def in_place(self, group: StateGroup, module: nn.Module) -> Iterator[None]:
        """Put the group's full weights in place for engine calls, which change none."""
        from harness.models.merged import load_weights, replaced

        if self._loaded is None or self._loaded[0] != group.full:
            self._loaded = None  # freed before the next ones are loaded: two sets may not fit
            self._loaded = group.full, load_weights(module, self._weights.adapter(group.full))
        with replaced(module, self._loaded[1]):
            yield
