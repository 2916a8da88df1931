"""The model backend ``hf``: any causal LM in Hugging Face's format, run and trained in this process.

Everything goes through the engine, so that requests and fine-tunes of many states share batches. A state's adapters are
kept separate from the frozen weights, except in :meth:`HfModel.borrow` and :meth:`HfModel.merge`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

from harness.api import (
    JSON,
    Completion,
    Dropout,
    EditFailed,
    Example,
    Likelihood,
    Model,
    Prompt,
    Request,
    State,
    Trained,
    TrainItem,
    WeightSource,
)
from harness.books.records import derive_seed
from harness.errors import PluginError, UsageError
from harness.models.checkpoint import find_checkpoint
from harness.models.hf_settings import HfSettings
from harness.models.loss_curve import thinned
from harness.models.states import StateGroup, StateWeights
from harness.models.stopping import StopTexts, cut

if TYPE_CHECKING:
    from harness.books.artefacts import FullWeights
    from harness.engine import (
        Adapter,
        Engine,
        Generated,
        GenerationRow,
        MemoryPlan,
        ScoreRow,
        Thinned,
        TrainJob,
        TrainResult,
    )
    from harness.models.encode import Encoder, Taught
    from harness.models.prompts import PromptEncoder


_T = TypeVar("_T")


@dataclass(frozen=True)
class Borrowed:
    """A lent model, from :meth:`HfModel.borrow`; unpacks as ``module, tokenizer``."""

    module: Any
    tokenizer: Any
    encoder: Encoder
    """Turns training data into sequences for this model."""
    plan: MemoryPlan
    """The engine's batch limits, for the borrower's own training loop."""

    def __iter__(self) -> Iterator[Any]:
        yield self.module
        yield self.tokenizer


class Answering(Protocol):
    """What generates and scores texts under adapters: the engine, or a server that holds the same model."""

    def generate(self, rows: Sequence[GenerationRow]) -> list[Generated]:
        """Complete every row under its adapters, in order."""
        ...

    def likelihoods(self, rows: Sequence[ScoreRow]) -> list[tuple[list[float], bool]]:
        """Log-probabilities of every row's continuation, and whether greedy decoding would give it."""
        ...


class HfModel(Model):
    """A local model. The checkpoint is found and digested at once; the weights are loaded on first use."""

    Settings: ClassVar[type] = HfSettings
    local: ClassVar[bool] = True

    def __init__(self, settings: HfSettings, weights: WeightSource) -> None:
        """Raises :class:`UsageError`, on one line, for a model that cannot be used."""
        self.settings = settings
        self._lent = False
        self._checkpoint = find_checkpoint(
            settings.path, settings.revision, trust_remote_code=settings.trust_remote_code
        )
        self.base = self._checkpoint.digest()
        self._states = StateWeights(self.base, weights)
        path = settings.path
        self.name = Path(path).resolve().name if Path(path).is_dir() else path

    # --- what it is ---

    @cached_property
    def can(self) -> frozenset[str]:  # type: ignore[override]  # needs the tokenizer, so it is computed on first use
        chat = self.settings.chat
        as_chat = self.prompts.is_instruct() if chat == "auto" else chat
        if as_chat and not self.prompts.has_template:
            raise UsageError(f"model {self.settings.path!r} has no chat template, which chat = true needs")
        return frozenset(
            {"generate", "logprobs", "hidden", "dropout", "train", "seed"} | ({"chat"} if as_chat else set())
        )

    @cached_property
    def identity(self) -> JSON:  # type: ignore[override]  # needs torch, so it is computed on first use
        """The checkpoint's name, device and dtype, and the variables of the chat template."""
        return {
            "name": self._checkpoint.folder.resolve().name,
            "device": self._device.partition(":")[0],
            "dtype": self._dtype,
            "today": self.settings.today,
            "thinking": self.settings.thinking,
        }

    def memory(self) -> JSON:
        """The engine's batch limits."""
        return self.engine.plan.to_json()

    @property
    def chunk(self) -> int:  # type: ignore[override]  # needs the engine, so it waits to be asked
        """Requests of a pack: two decoding batches, so that waiting rows fill the places of finished ones."""
        return 2 * int(self._limits["rows"])

    @property
    def wave(self) -> int:  # type: ignore[override]  # as above
        """Trainings of a pack: as many as run side by side. A larger pack is no faster, and a kill costs more of it."""
        return int(self._limits["slots"])

    @property
    def _limits(self) -> JSON:
        return self.settings.memory or self.memory()

    @property
    def positions(self) -> int:
        """The most tokens that a text may have, prompt and continuation together."""
        limit = self._checkpoint.config.get("max_position_embeddings")
        if not isinstance(limit, int):  # a name of the model's own, which its class knows
            limit = getattr(self.engine.model.config, "max_position_embeddings", None)
        if not isinstance(limit, int):
            raise UsageError(f"model {self.settings.path!r}: its config.json names no max_position_embeddings")
        return limit

    # --- generation and scoring ---

    def generate(self, asks: Sequence[Request], /) -> Sequence[Sequence[Completion]]:
        """``asks[i].n`` completions for every request, in order; nothing depends on the order of the requests.

        A prompt that leaves no room for ``max_tokens`` is ``failed``: ``context length N + n > M``. Sampled completions
        have their tokens, the end token included if there is one, and the tokens' log-probabilities under the model
        (temperature 1). ``cost["reduced"]`` is set if memory ran out and the batch was made smaller.
        """
        from harness.engine import GenerationRow

        found: list[list[Completion]] = [[] for _ in asks]
        rows: list[tuple[int, State, GenerationRow]] = []
        for index, ask in enumerate(asks):
            self._check(ask)
            ids = self.prompts.prompt_ids(ask.prompt)
            if len(ids) + ask.max_tokens > self.positions:
                why = f"context length {len(ids)} + {ask.max_tokens} > {self.positions}"
                found[index] = [Completion(ask, "", finish="failed", reason=why) for _ in range(ask.n)]
                continue
            stop = StopTexts(self.prompts, ask.stop) if ask.stop else ()
            rows += (
                (
                    index,
                    ask.state,
                    GenerationRow(
                        ids,
                        max_tokens=ask.max_tokens,
                        temperature=ask.temperature,
                        top_p=ask.top_p,
                        seed=derive_seed(ask.seed, "sample", sample, *ids),
                        stop=stop,
                        logprobs=ask.temperature > 0,
                    ),
                )
                for sample in range(ask.n)
            )
        for group in self._groups([state for _, state, _ in rows]):
            part = [dataclasses.replace(rows[place][2], adapters=stack) for place, stack in group.stacks]
            with self._weights_of(group):
                answers = self._answering(group).generate(part)
            for (place, _), answer in zip(group.stacks, answers, strict=True):
                index, _, row = rows[place]
                ask = asks[index]
                if answer.finish == "error":
                    found[index].append(Completion(ask, "", finish="error", reason=answer.reason))
                    continue
                text, stopped = cut(self.prompts.decode(answer.ids), ask.stop)
                cost = {
                    "prompt_tokens": 0 if found[index] else len(row.prompt),
                    "completion_tokens": len(answer.ids) + (answer.eos is not None),
                }
                if answer.reduced:
                    cost["reduced"] = 1
                sampled = ask.temperature > 0
                found[index].append(
                    Completion(
                        ask,
                        text,
                        tokens=_whole(answer.ids, answer.eos) if sampled else None,
                        logprobs=_whole(answer.logprobs or (), answer.eos_logprob) if sampled else None,
                        finish="stop" if stopped else answer.finish,
                        cost=cost,
                    )
                )
        return found

    def logprobs(
        self, asks: Sequence[tuple[State, Prompt, str]], /, *, dropout: Dropout | None = None
    ) -> Sequence[Sequence[float]]:
        """Natural-log probability of every token of each continuation, given its prompt: one sequence per ask.

        A long beginning that several prompts have in common is read once. With ``dropout``, the pass of a prompt is
        that of one thinned network (:class:`harness.api.Dropout`).

        Raises:
            UsageError: a text is longer than the model can take.
        """
        return [one.logprobs for one in self._likelihoods(asks, dropout)]

    def likelihoods(self, asks: Sequence[tuple[State, Prompt, str]], /) -> Sequence[Likelihood]:
        """:meth:`logprobs`, and whether greedy decoding would write the continuation: one record per ask.

        Raises:
            UsageError: a text is longer than the model can take.
        """
        return self._likelihoods(asks, None)

    def _likelihoods(self, asks: Sequence[tuple[State, Prompt, str]], dropout: Dropout | None) -> Sequence[Likelihood]:
        from harness.engine import ScoreRow

        texts = [self.prompts.continuation_ids(prompt, text) for _, prompt, text in asks]
        for before, after in texts:
            self._check_length(len(before) + len(after))
        found: list[Likelihood] = [Likelihood(())] * len(asks)
        for group in self._groups([state for state, _, _ in asks]):
            rows = [ScoreRow(*texts[place], stack, _thinned(dropout, texts[place][0])) for place, stack in group.stacks]
            with self._weights_of(group):
                # A server has no thinned networks; the engine here has the same weights.
                scores = (self._answering(group) if dropout is None else self.engine).likelihoods(rows)
            for (place, _), (row, greedy) in zip(group.stacks, scores, strict=True):
                found[place] = Likelihood(tuple(row), greedy)
        return found

    def hidden(
        self,
        asks: Sequence[tuple[State, str]],
        /,
        *,
        layer: int,
        pool: Literal["mean", "last"] = "mean",
        dropout: Dropout | None = None,
    ) -> Sequence[Sequence[float]]:
        """Hidden states after ``layer`` (0 is the embedding, -1 the last layer), pooled over tokens: one vector of the
        model's hidden size per ask. ``dropout`` as in :meth:`logprobs`.

        Raises:
            UsageError: no such layer, or a text is longer than the model can take.
        """
        from harness.engine import HiddenRow

        texts = [self.prompts.prompt_ids(text) for _, text in asks]
        for ids in texts:
            self._check_length(len(ids))
        found: list[Sequence[float]] = [()] * len(asks)
        for group in self._groups([state for state, _ in asks]):
            rows = [HiddenRow(texts[place], stack, _thinned(dropout, texts[place])) for place, stack in group.stacks]
            try:
                with self._weights_of(group):
                    vectors = self.engine.hidden(rows, layer=layer, pool=pool)
            except ValueError as error:
                raise UsageError(f"model {self.settings.path!r}: {error}") from error
            for (place, _), vector in zip(group.stacks, vectors, strict=True):
                found[place] = vector
        return found

    # --- training ---

    def train(self, items: Sequence[TrainItem], /, loss: str | Any = "sft") -> Iterator[Trained]:
        """Train one adapter per item, in the order in which they finish. Settings are those of
        :class:`harness.models.train_settings.TrainSettings`.

        An item that continues an adapter yields a new one; the start's own adapter does not change.

        An item whose data or settings cannot be used, or whose training diverges, is ``failed``, with ``log["cause"]``
        ``data``, ``settings`` or ``diverged``; it does not affect the other items.

        Raises:
            UsageError: an unknown setting, or targets that the model does not have.
        """
        from harness.engine import TrainJob
        from harness.models.encode import engine_loss, hyper_parameters
        from harness.models.train_settings import train_settings

        loss = engine_loss(loss)
        jobs: list[tuple[TrainItem, TrainJob]] = []
        for item in items:
            try:
                settings = train_settings(item.settings, f"job {item.id!r}")
            except EditFailed as error:
                yield Trained(item.id, None, "failed", str(error), {"cause": "settings"})
                continue
            try:
                sequences = self.encoder.sequences(item.data, settings, loss)
                retained = self.encoder.sequences(item.retained, settings, loss) if item.retained else ()
            except EditFailed as error:
                yield Trained(item.id, None, "failed", str(error), {"cause": "data"})
                continue
            hp = hyper_parameters(settings)
            try:
                self.engine.resolve_targets(hp.targets)
            except ValueError as error:
                raise UsageError(f"model {self.settings.path!r}: {error}") from error
            jobs.append((item, TrainJob(item.id, sequences, hp, item.seed, loss=loss, retained=retained)))
        jobs = self._with_teachers(jobs)
        for group in self._groups([item.start for item, _ in jobs]):
            part = [_started(*jobs[place], stack) for place, stack in group.stacks]
            if not group.full:
                yield from map(_trained, self.engine.train(part))
            else:
                # Between two results the caller may use the model, so the other weights must not be in place then.
                with self._weights_of(group):
                    results = list(self.engine.train(part))
                yield from map(_trained, results)

    def _with_teachers(self, jobs: Sequence[tuple[TrainItem, TrainJob]]) -> list[tuple[TrainItem, TrainJob]]:
        """The jobs with the distributions of their teachers, each of which is computed once for all jobs that need
        it."""
        from harness.engine import Distribution, ScoreRow

        asked = [
            (item.start if taught.teacher == "start" else State(self.base), taught)
            for item, job in jobs
            for one in job.sequences
            if (taught := one.meta.get("taught"))
        ]
        rows = list({(state.adapters, taught): (state, taught) for state, taught in asked}.values())
        found: dict[tuple[tuple[str, ...], Taught], Distribution] = {}
        for group in self._groups([state for state, _ in rows]):
            for top in sorted({rows[place][1].top for place, _ in group.stacks}):
                mine = [(rows[place], stack) for place, stack in group.stacks if rows[place][1].top == top]
                with self._weights_of(group):
                    texts = [ScoreRow(taught.prompt, taught.target, stack) for (_, taught), stack in mine]
                    said = self.engine.distributions(texts, top=top)
                for ((state, taught), _), one in zip(mine, said, strict=True):
                    found[state.adapters, taught] = one
        out = []
        for item, job in jobs:
            sequences = []
            for sequence in job.sequences:
                if taught := sequence.meta.get("taught"):
                    start = item.start.adapters if taught.teacher == "start" else ()
                    count = sum(weight != 0 for weight in (sequence.weights or ())[1:])
                    sequence = dataclasses.replace(sequence, meta={"teacher": found[start, taught].last(count)})
                sequences.append(sequence)
            out.append((item, dataclasses.replace(job, sequences=tuple(sequences))))
        return out

    def over_long(self, data: Sequence[Example], max_length: int, /) -> str:
        """Why one of the examples cannot be trained on, such as ``context length 700 > 512``; "" where all can."""
        from harness.models.train_settings import TrainSettings

        try:
            if data:
                self.encoder.sequences(data, TrainSettings(max_length=max_length))
        except EditFailed as error:
            return str(error)
        return ""

    @contextmanager
    def borrow(self, state: State, /) -> Iterator[Borrowed]:
        """``(module, tokenizer)`` with the state's adapters merged into the weights.

        On return every weight must be the same, bit for bit, which is checked. While lent, the model answers no calls.

        Raises:
            PluginError: the borrower changed weights or left modules behind; the weights are loaded again on next use.
        """
        from harness.models.merged import lent, merged

        self._refuse_lent()
        stack, full = self._states.one(state)
        self._lent = True
        try:
            with merged(self.engine.model, stack, full), lent(self.engine.model) as module:
                yield Borrowed(module, self.prompts.tokenizer, self.encoder, self.engine.plan)
        except PluginError:
            self.__dict__.pop("engine", None)
            raise
        finally:
            self._lent = False

    def merge(self, state: State) -> FullWeights:
        """All weights, with the state's adapters added: summed in fp32, and rounded once to the weights' dtype."""
        from harness.books.artefacts import FullWeights
        from harness.models.merged import merged

        self._refuse_lent()
        stack, full = self._states.one(state)
        with merged(self.engine.model, stack, full) as module:
            return FullWeights({n: p.detach().to("cpu", copy=True) for n, p in module.named_parameters()})

    # --- states ---

    def _groups(self, states: Sequence[State]) -> list[StateGroup]:
        """The states grouped by the full weights that replace the frozen ones (nearly always none)."""
        self._refuse_lent()
        return self._states.groups(states)

    def _refuse_lent(self) -> None:
        if self._lent:
            raise PluginError(f"model {self.settings.path!r} is lent; call it after the borrow has ended")

    @contextmanager
    def _weights_of(self, group: StateGroup) -> Iterator[None]:
        """Put the group's full weights in place for engine calls, which change none. The last ones used stay loaded."""
        if not group.full:
            yield
            return
        with self._states.in_place(group, self.engine.model):
            yield

    def _answering(self, group: StateGroup) -> Answering:
        """What generates and scores texts for a group's states."""
        return self.engine

    def _check(self, ask: Request) -> None:
        if ask.schema is not None:
            raise UsageError(f"model {self.settings.path!r} cannot follow a JSON schema; check 'schema' in lm.can")

    def _check_length(self, length: int) -> None:
        if length > self.positions:
            raise UsageError(f"model {self.settings.path!r}: context length {length} > {self.positions}")

    # --- parts that are constructed on first use ---

    @cached_property
    def engine(self) -> Engine:
        """The engine, with the frozen weights."""
        from harness.models.load import load_engine

        return load_engine(self._checkpoint, self.settings, self._device, self._dtype, self.prompts)

    @cached_property
    def prompts(self) -> PromptEncoder:
        """Turns prompts into token ids."""
        from harness.models.load import load_prompts

        return load_prompts(self._checkpoint, self.settings)

    @cached_property
    def encoder(self) -> Encoder:
        """Turns training data into sequences."""
        from harness.models.encode import Encoder

        return Encoder(self.prompts, self.positions)

    @cached_property
    def _device(self) -> str:
        import torch

        if self.settings.device_map:
            from harness.models.load import devices_of

            return devices_of(self.settings)[0]
        if self.settings.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        try:
            torch.empty(0, device=self.settings.device)
        except (RuntimeError, AssertionError) as error:
            raise UsageError(f"model hf: device {self.settings.device!r} cannot be used: {error}") from error
        return self.settings.device

    @property
    def _dtype(self) -> str:
        if self.settings.dtype != "auto":
            return self.settings.dtype
        return "bfloat16" if self._device.startswith("cuda") else "float32"


def _thinned(dropout: Dropout | None, prompt: Sequence[int]) -> Thinned | None:
    """The network that reads a prompt: one of its own, whatever follows the prompt."""
    from harness.engine import Thinned

    return None if dropout is None else Thinned(dropout.rate, derive_seed(dropout.seed, "dropout", *prompt))


def _started(item: TrainItem, job: TrainJob, stack: tuple[Adapter, ...]) -> TrainJob:
    """The job with the adapters of its start.

    Raises:
        UsageError: it continues an adapter, but the start has none.
    """
    if item.start_as == "stack":
        return dataclasses.replace(job, stack=stack)
    if not stack:
        raise UsageError(
            f"job {item.id!r}: start_as 'continue' trains the start's last adapter further, but its weights have none"
        )
    return dataclasses.replace(job, stack=stack[:-1], init=stack[-1])


def _trained(result: TrainResult) -> Trained:
    log: dict[str, Any] = {
        "steps": result.steps,
        "tokens": result.tokens,
        "seconds": result.seconds,
        "loss": result.losses[-1] if result.losses else None,
        "losses": thinned(result.losses),
    }
    if result.adapter is not None:
        log["norm"] = result.adapter.norm
    if result.reduced:
        log["reduced"] = True
    if result.status == "failed":
        log["cause"] = "diverged" if result.reason.startswith("diverged") else "settings"
    return Trained(result.id, result.adapter, result.status, result.reason, log)


def _whole(values: tuple[_T, ...], last: _T | None) -> tuple[_T, ...]:
    return values if last is None else (*values, last)
