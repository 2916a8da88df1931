"""The model backend ``vllm``: a server generates and scores texts, and this process trains on the same weights.

One model with the digest of the local one: States, prompts, token ids and what is booked are those of ``hf``. Needs the
extra ``selfadapt-harness[openai]``.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from harness.api import JSON, HarnessError, Quote, State, Trained, TrainItem, WeightSource
from harness.errors import UsageError
from harness.models.hf import Answering, HfModel
from harness.models.states import StateGroup
from harness.models.vllm.settings import VllmSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.models.vllm.canaries import Proof
    from harness.models.vllm.served import ServedEngine
    from harness.models.vllm.server import VllmServer
    from harness.models.vllm.shelf import Shelf
    from harness.models.vllm.start import Start

_CANARIES = 8
"""Requests to the base, and as many to adapters, by which every run checks the server."""


class VllmModel(HfModel):
    """A local model whose texts come from a vLLM server. The server is looked at on first use, and proven with
    canaries."""

    Settings: ClassVar[type] = VllmSettings
    local: ClassVar[bool] = False
    settings: VllmSettings

    def __init__(self, settings: VllmSettings, weights: WeightSource) -> None:
        """Raises :class:`UsageError` for a model that cannot be used, and for a missing extra."""
        super().__init__(settings, weights)
        self._proving = self._proven = False

    @classmethod
    def quote(cls, settings: VllmSettings, /) -> Quote:
        """A server of one's own costs nothing."""
        return Quote(f"vllm:{settings.path}", frozenset({"generate", "logprobs", "hidden", "train", "seed"}), 0.0, 0.0)

    @cached_property
    def identity(self) -> JSON:  # type: ignore[override]
        """That of the local model, with what generates and scores its texts. The server is proven before this is
        told, and so before anything is spent."""
        _ = self._served
        version, positions = self._facts
        return {**super().identity, "generates": {"engine": "vllm", "version": version, "positions": positions}}

    @property
    def chunk(self) -> int:  # type: ignore[override]
        """Requests of a pack: enough to keep the server busy; a kill loses one pack."""
        return 8 * self.settings.concurrency

    @property
    def positions(self) -> int:
        """The most tokens that a text may have here and at the server."""
        return min(super().positions, self._facts[1])

    def start(self, **options: Any) -> Start:
        """How a server for this model is started.

        Args:
            options: fields of :class:`harness.models.vllm.start.Start`.
        """
        from harness.models.vllm.start import Start

        targets = self.engine.resolve_targets("all-linear")
        return Start(self._checkpoint.folder, targets, self._dtype, **options)

    def prove(self, count: int = _CANARIES) -> Proof:
        """Check with canaries that the server's answers are the engine's.

        Args:
            count: requests to the base, and as many to adapters.

        Raises:
            UsageError: they are not.
        """
        from harness.models.vllm import canaries

        served = self._connected
        self._proving = True
        try:
            proof = canaries.prove(
                served,
                self.engine,
                self.prompts.text_ids,
                count=count,
                max_rank=self._shelf.max_rank,
                dtype=self._dtype,
            )
        finally:
            self._proving = False
        canaries.refuse(self._server.url, self.settings.path, proof, self._dtype)
        self._proven = True
        return proof

    def train(self, items: Sequence[TrainItem], /, loss: str | Any = "sft") -> Iterator[Trained]:
        """As :meth:`HfModel.train`; refused at once where the server could not hold the adapters.

        Raises:
            UsageError: a rank exceeds the server's maximum.
        """
        from harness.models.vllm.server import RankTooLarge

        for item in items:
            rank = item.settings.get("rank")
            if isinstance(rank, int) and rank > self._shelf.max_rank:
                raise RankTooLarge(rank, self._shelf.max_rank)
        return super().train(items, loss)

    def merge(self, state: State) -> Any:
        """Refused: the server holds the base's weights and adapters, no others."""
        raise _no_full_weights()

    def _answering(self, group: StateGroup) -> Answering:
        if group.full:
            raise _no_full_weights()
        return self._served

    @cached_property
    def _server(self) -> VllmServer:
        try:
            from harness.models.vllm.server import VllmServer
        except ImportError as error:
            raise UsageError(
                f"the model vllm needs the package {error.name}: pip install 'selfadapt-harness[openai]'"
            ) from error
        return VllmServer(self.settings)

    @cached_property
    def _facts(self) -> tuple[str, int]:
        """The server's version and positions."""
        return self._server.facts()

    @cached_property
    def _shelf(self) -> Shelf:
        from harness.models.vllm.canaries import no_adapter
        from harness.models.vllm.shelf import Shelf

        _ = self._facts  # nothing is loaded into a server that is none
        return Shelf(self._server, self.settings.adapters, no_adapter(self.engine))

    @cached_property
    def _connected(self) -> ServedEngine:
        """The server, not proven yet."""
        from harness.engine import GenerationRow
        from harness.models.vllm.served import ServedEngine

        served = ServedEngine(
            self._server,
            self._shelf,
            ends=self.prompts.eos_token_ids,
            positions=self._facts[1],
            local=lambda: self.engine,
            concurrency=self.settings.concurrency,
            prove=self._again,
        )
        served.generate([GenerationRow(self.prompts.prompt_ids("a"), max_tokens=1)])
        served.slots = self._server.slots()
        return served

    @property
    def _served(self) -> ServedEngine:
        """The server, proven."""
        if not self._proven:
            self.prove()
        return self._connected

    def _again(self) -> None:
        """The server was started again: it has to be the same, and to prove itself again."""
        if self._proving:
            return
        if self._server.facts() != self._facts:
            raise UsageError(f"{self._server.url} was started again as another server than the run was begun with")
        self.prove()


def _no_full_weights() -> HarnessError:
    return UsageError(
        "a vLLM server holds the base model and adapters, no other weights: start_as = 'merge' and the updater 'full' "
        "need --model hf"
    )
