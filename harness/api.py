"""The plugin contract, version 2: records, the base classes of components, and the protocols of what they are handed.

A component derives from the base class of its kind: :class:`Task`, :class:`Model`, :class:`Editor`,
:class:`RewardFunction`, :class:`Updater`, :class:`Evaluator`, :class:`Trainer` or :class:`EvaluationProtocol`. It must
implement the abstract methods; every other member has a default, which its docstring describes. A component reaches
the core through a :class:`Session`, and models through an :class:`LM`. This file imports nothing outside the standard
library, so a plugin module that imports nothing else loads in milliseconds.

The shape of the whole (SEAL, arXiv 2506.10943, section 3, generalised)::

    Task -> Episode(context) -> Editor -> SelfEdit -> Updater -> State -> Evaluator -> Score
                                  ^                                |
                                policy <- Trainer <- Reward <------+

Four rules hold everywhere:

* **Bulk.** A component sees all items of a call at once and answers in their order, so that the engine can batch.
* **Every effect is a Session call.** It is journalled under a digest of everything it depends on, so that a killed run
  can be replayed.
* **Two kinds of failure.** ``failed`` is the method's fault and counts as wrong. ``error`` is the fault of the harness
  or its surroundings: it has no value, is retried on resume, and leaves the row incomplete. Neither is ever a silent
  zero.
* **References stay with the core.** Only an evaluator is handed them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

API_VERSION = 2
"""Increased when a plugin written for the old contract would stop working. Within a version, members are only added."""

JSON: TypeAlias = Mapping[str, Any]
"""A JSON object. Digests are taken over its canonical form: sorted keys, no NaN."""

Turns: TypeAlias = tuple[tuple[str, str], ...]
"""A conversation: ``(role, text)`` pairs; the model's own chat template renders it."""

Prompt: TypeAlias = str | Turns
"""Raw text for a base model, or a conversation for an instruct model."""

Split: TypeAlias = Literal["train", "validation", "test", "made"]
"""``made`` holds the episodes that a method generated itself (R-Zero, Evol-Instruct), with its own references."""

Status: TypeAlias = Literal["ok", "failed", "error"]
StartAs: TypeAlias = Literal["stack", "continue", "fold", "merge"]
"""What an update does with the adapters of its start state; see :attr:`UpdateJob.start_as`."""
Finish: TypeAlias = Literal["stop", "length", "failed", "error"]
"""Why a completion ended: ``stop`` is an end token or a stop text, ``length`` is ``max_tokens``. There is no text where
it ``failed`` (the request's fault) or met an ``error`` (the harness's or the endpoint's)."""

References: TypeAlias = Mapping[str, Sequence[str]]
"""Query id -> accepted answers."""


# --- models and benchmark items ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """An immutable name for "a model as it is now". The weights themselves live in the core's store."""

    base: str
    """Digest of the frozen weights, or a dated remote name such as ``openai:gpt-4.1-2025-04-14``."""
    adapters: tuple[str, ...] = ()
    """Digests of the adapters trained since, in the order in which they are applied: policy, then inner update, ..."""
    memory: JSON = field(default_factory=dict)
    """What the task adds to prompts: a passage, a playbook, retrieved text."""


@dataclass(frozen=True)
class Query:
    """One question about an episode. Never holds the references."""

    id: str
    text: str
    meta: JSON = field(default_factory=dict)


@dataclass(frozen=True)
class Episode:
    """Something new for a model to learn, and the queries that test how well it did."""

    id: str
    split: Split
    context: JSON
    """What a method may see: ``{"title", "text"}`` | ``{"demos"}`` | ``{"claim"}`` | ..., as the task documents."""
    queries: tuple[Query, ...] = ()
    """Empty in the copy that a method is given when its card says ``sees="context"``; the core keeps the full one."""
    group: str | None = None
    """Consistency group (ICM, arXiv 2506.10139)."""
    parent: str | None = None
    """The episode this one was made from (Evol-Instruct, arXiv 2304.12244)."""


# --- asking a language model ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """``n`` continuations of one prompt by one state. Requests of different states batch together."""

    state: State
    prompt: Prompt
    n: int = 1
    temperature: float = 0.0
    """0 is greedy decoding."""
    top_p: float = 1.0
    max_tokens: int = 64
    stop: tuple[str, ...] = ()
    """Texts that end the continuation; they are not part of it."""
    seed: int = 0
    """Sampling draws from one generator per (request, sample), so batch order never changes a text."""
    schema: JSON | None = None
    """JSON schema of the answer, where the model ``can`` follow one."""


@dataclass(frozen=True)
class Completion:
    """One continuation; also the policy's action, with enough in it for SFT, DPO and GRPO."""

    request: Request
    text: str
    tokens: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    """Natural logarithm of each token's probability under the model itself: at temperature 1, over the whole
    vocabulary, whatever the request's sampling settings."""
    finish: Finish = "stop"
    """``failed``: the model cannot take this prompt (too long, refused). ``error``: no answer came; ``harness resume``
    asks again."""
    cost: JSON = field(default_factory=dict)
    """``prompt_tokens``, ``completion_tokens``, and ``usd`` where there is a price."""
    reason: str = ""
    """Why there is no text where ``finish`` is ``failed`` or ``error``, such as ``context length 900 > 512``."""


@dataclass(frozen=True)
class Likelihood:
    """How probable a model finds a given continuation."""

    logprobs: tuple[float, ...]
    """Natural logarithm of each token's probability, as :meth:`LM.logprobs` gives them."""
    greedy: bool | None = None
    """Whether every token is the most probable one at its place, so that greedy decoding would write the continuation;
    None where the model does not say."""


@dataclass(frozen=True)
class Dropout:
    """A stochastic pass: every unit that a linear layer reads is left out with a probability (arXiv 1506.02142).

    The seed and the prompt name one thinned network, whatever else is asked: after one prompt, all continuations and
    the prompt's own hidden states come from the same network.
    """

    rate: float
    """Probability that a unit is left out, in (0, 1)."""
    seed: int = 0


# --- the contents of an edit ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    """One training sequence. The loss is taken over the tokens of ``target`` only; where ``prompt`` is empty, that is
    the whole sequence."""

    prompt: Prompt
    target: str
    weight: float = 1.0


@dataclass(frozen=True)
class Preference:
    """A preferred and a rejected answer to one prompt (DPO, arXiv 2305.18290)."""

    prompt: Prompt
    chosen: str
    rejected: str
    weight: float = 1.0


@dataclass(frozen=True)
class Rollout:
    """A sampled action with its advantage within a group (GRPO, arXiv 2402.03300)."""

    action: Completion
    group: str
    advantage: float


@dataclass(frozen=True)
class Recipe:
    """Training data by name: the task expands it just before training (:meth:`Task.expand`); never stored expanded."""

    name: str
    args: JSON = field(default_factory=dict)


@dataclass(frozen=True)
class MemoryOps:
    """Changes to :attr:`State.memory`; each operation is ``{"set": {...}}`` or ``{"delete": [keys]}``."""

    ops: tuple[JSON, ...]


@dataclass(frozen=True)
class Delta:
    """Ready-made weights in the core's store (a generated or recorded adapter)."""

    artefact: str
    scale: float = 1.0


@dataclass(frozen=True)
class Distillation:
    """One training sequence that is learnt from a teacher's next-token distributions at every token of ``target``.

    With a ``teacher_prompt`` that shows what the student must do without, it is context distillation (arXiv
    2209.15189); with the same prompt and the teacher ``base``, it keeps the student close to the base model. The loss
    is the divergence KL(teacher || student) per token of ``target``, in nats, averaged together with the update's
    examples.
    """

    prompt: Prompt
    target: str
    teacher_prompt: Prompt | None = None
    """What the teacher reads before the target; None for the student's prompt."""
    teacher: Literal["start", "base"] = "start"
    """The teacher: the model that the update starts from, or its frozen weights without any adapter."""
    top: int = 32
    """How many of the most probable tokens of each distribution are kept; all others count as one outcome."""
    weight: float = 1.0


Data: TypeAlias = Example | Preference | Rollout | Recipe | MemoryOps | Delta | Distillation


@dataclass(frozen=True)
class SelfEdit:
    """What a model (or a teacher) wrote to learn from: training data, and optionally how to train on it."""

    id: str
    """Unique within the run; by convention ``<episode>/<sample index>``."""
    episode: str
    data: tuple[Data, ...]
    settings: JSON = field(default_factory=dict)
    """Update settings that the edit chose itself (in SEAL's ARC edits: learning rate, epochs and loss mask)."""
    actions: tuple[Completion, ...] = ()
    """The completions in which the policy wrote it: what an outer loop trains the policy on."""
    status: Status = "ok"
    reason: str = ""


# --- updates -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class UpdateJob:
    """A start state and the edits to apply to it.

    With one edit it is a single-passage update, with all edits continued pretraining; with the previous job's result as
    ``start`` it is a step of continual editing, and with the policy as ``start`` a step of the outer loop.
    """

    id: str
    start: State
    edits: tuple[SelfEdit, ...]
    seed: int
    settings: JSON = field(default_factory=dict)
    """Overrides of the updater's settings; the edits' own settings come on top."""
    start_as: StartAs = "stack"
    """What becomes of the adapters of ``start``. Training begins from the same function in every case:

    * ``stack``: they stay, frozen, and a new adapter is trained on top. Every update makes all later ones slower.
    * ``continue``: the last one is trained further and the result replaces it. Its optimiser state is carried over
      where the training setting ``keep_optimizer`` is true. The update must have that adapter's rank, alpha and
      targets.
    * ``fold``: they are folded into one frozen adapter with the rank of their sum, and a new one is trained on top.
    * ``merge``: they are added into the weights (summed in fp32, rounded once), and a new adapter is trained on top.

    ``fold`` and ``merge`` leave a start without adapters unchanged; ``continue`` is refused there.
    """
    earlier: tuple[SelfEdit, ...] = ()
    """Edits that the start has learnt already, oldest first, where a protocol applies one update after another. Only
    updaters with :attr:`Updater.rehearses` are handed them."""
    retained: tuple[Example, ...] = ()
    """For :meth:`Session.fit`: what must not be lost. It is not learnt, but the loss ``sft`` measures on it what holds
    the update back (``ewc``, ``null_space``)."""


@dataclass(frozen=True)
class Updated:
    """What became of a job. ``state`` is None unless ``status`` is ``ok``."""

    job: str
    state: State | None
    status: Status = "ok"
    reason: str = ""
    log: JSON = field(default_factory=dict)
    """``steps``, ``tokens``, ``seconds``, ``loss`` (the mean of the last step), and anything else the updater
    reports."""


@dataclass(frozen=True)
class Ask:
    """Ask a state all queries of an episode, ``samples`` times."""

    state: State
    episode: Episode
    samples: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Score:
    """The mark of one query. ``value`` is in [0, 1], 0.0 when ``failed``, and None when ``error``."""

    episode: str
    query: str
    value: float | None
    status: Status = "ok"
    answers: tuple[str, ...] = ()
    measures: JSON = field(default_factory=dict)
    """Further measures by name (``exact``, ``f1``, ...), and ``reason`` where the status is not ``ok``."""


@dataclass(frozen=True)
class Reward:
    """The reward of one candidate; ``value`` is None where it could not be computed (status ``error``)."""

    value: float | None
    status: Status = "ok"
    measures: JSON = field(default_factory=dict)
    """The quantities the reward was computed from, by name, and ``reason`` where the status is not ``ok``."""


@dataclass(frozen=True)
class EditAsk:
    """Ask an editor for ``n`` self-edits of one episode, written by ``state``."""

    episode: Episode
    state: State
    n: int
    seed: int
    feedback: tuple[Score, ...] = ()


@dataclass(frozen=True)
class Group:
    """The candidate edits for one ask. ``rewards`` is empty until they are known, then parallel to ``edits``."""

    ask: EditAsk
    edits: tuple[SelfEdit, ...]
    rewards: tuple[Reward, ...] = ()


@dataclass(frozen=True)
class Round:
    """A checkpoint of the outer loop: the state of every role, and what was measured during the round."""

    index: int
    roles: Mapping[str, State]
    metrics: JSON = field(default_factory=dict)


@dataclass(frozen=True)
class TrialJob:
    """Update, ask, release. Refused for episodes of the test split."""

    job: UpdateJob
    episodes: tuple[Episode, ...]


@dataclass(frozen=True)
class Method:
    """Which components make up a method, in which roles, and the card that declares what the method may see and use."""

    name: str
    paper: str
    """arXiv id or URL, with the section; "" for a control that is in no paper."""
    summary: str
    """One line, shown by ``harness list plugins --verbose``."""
    components: Mapping[str, JSON]
    """Slot -> ``{"use": component, **settings}``. The slots ``editor``, ``reward``, ``updater``, ``evaluator`` and
    ``trainer`` hold a component of the kind they are named after; any other slot states its ``kind``, such as
    ``"policy": {"kind": "updater", "use": "lora"}``."""
    roles: Mapping[str, str] = field(default_factory=lambda: {"teacher": "model", "student": "@teacher"})
    """Role -> ``"model"`` (the run's model), another model's spec, or ``"@other"`` (the state that role holds now)."""
    sees: Literal["context", "context+queries"] = "context"
    transductive: bool = False
    open_book: bool = False
    outside_teacher: bool = False
    needs: frozenset[str] = frozenset()
    """What the teacher's model must be able to do (see :attr:`LM.can`); checked before anything is spent."""
    protocol: str | JSON = "single"
    """How its policy is measured: a name such as ``single`` (one update per edit) or ``cpt`` (all edits in one update,
    continued pretraining), or a table ``{"use": name, **settings}``."""
    beside: tuple[str, ...] = ()
    """Methods that ``harness run`` runs beside this one for comparison, such as its baselines."""
    presets: Mapping[str, JSON] = field(default_factory=dict)
    """Named configurations; the one named after the model (``lab``) is the default with that model. One with a key
    ``model`` is run with that model unless the user names another."""


@dataclass(frozen=True)
class Command:
    """A verb that a plugin adds to the command line (``harness_commands``)."""

    target: str
    """``"module:attribute"`` of a ``typer.Typer`` (a verb with subcommands) or of a function that typer can wrap."""
    help: str
    """Its line in ``harness --help``."""


# --- what the core asks of components ------------------------------------------------------------------------------


_NOTHING: JSON = MappingProxyType({})


class Ledger(Protocol):
    """The accounts of one run: a call is entered before it is sent, and settled when it ends. Thread-safe.

    They outlast the process: a resumed run continues them. A call in flight when a process was killed counts as spent.
    """

    def reserve(self, account: str, request: str, usd: float, limit: float = 0.0, *, may_exceed: bool = True) -> int:
        """Enter a call and return the entry's number. Blocks until the calls in flight leave room for it.

        Args:
            account: the model.
            request: digest of the request.
            usd: the most that the call may cost, in US dollars.
            limit: the most that the account may reach, in US dollars; 0 for no limit.
            may_exceed: whether a call that is sent alone may exceed the limit by its own price; False refuses it.

        Raises:
            HarnessError: the limit is reached.
        """
        ...

    def reopen(self, account: str, prefix: str) -> Sequence[tuple[int, str]]:
        """Entries that an earlier process left open, whose requests begin with ``prefix``: ``(entry, request)``.

        They are calls in flight again, and no longer counted as spent.
        """
        ...

    def enter(self, account: str, request: str, usd: float, answered: str, completions: Sequence[JSON]) -> None:
        """Enter an answer to a call that is part of another entry, such as a batch."""
        ...

    def settle(
        self,
        account: str,
        request: str,
        entry: int,
        usd: float | None,
        answered: str = "",
        completions: Sequence[JSON] = (),
    ) -> None:
        """Enter how a call ended.

        Args:
            usd: what it cost, in US dollars; None where that is not known, which books the most that it may cost.
            answered: the model that answered, as the endpoint reports it.
            completions: what came back, as plain JSON.
        """
        ...

    def answers(self, request: str) -> Sequence[JSON]:
        """The completions received for a request since the run began, resumed or not: paid for, so not asked again."""
        ...


class Component(ABC):  # noqa: B024  (its kinds have the abstract methods)
    """What all kinds have in common. A component derives from the base class of its kind, not from this one.

    It is constructed as ``Class(settings, **nested)``; a model also gets the keyword argument ``weights``
    (:class:`WeightSource`). ``settings`` is left out where the class has no :attr:`Settings`.
    """

    Settings: ClassVar[type | None] = None
    """A frozen dataclass with a default for everything that a configuration may set. None: there is nothing to set.

    A field that cannot change a score (a cache, a limit on cost) says so in its metadata, so that rows which differ in
    nothing else stay comparable: ``field(default=0, metadata={"changes_scores": False})``. One that was added to a
    component in use, with a default that changes nothing, says ``metadata={"added_later": True}``: while it has that
    default, rows made before it stay comparable.
    """
    nested: ClassVar[Mapping[str, str]] = _NOTHING
    """Components that this one wraps: constructor argument -> kind, such as ``{"inner": "editor"}``.

    Each is configured by a table of the argument's name within this component's table. Only a model may wrap models:
    every other component reaches models through the session.
    """
    meta_s: float = 0.0
    """Seconds of one-off training before any run (of a generator, say); reported separately from a run's own cost."""
    ledger: Ledger | None = None
    """Where calls that cost money are entered. The core sets it on models and evaluators, and on what is nested in
    them, before their first call of a run; None outside a run."""


class Task(Component):
    """A benchmark: splits, prompts, what counts as an answer, and how edits become training sequences."""

    name: str
    version: str
    """One of every row's conditions (what must agree for rows to be compared): change it whenever items, prompts or
    scoring change."""
    metric: str
    """Name of the headline measure that evaluators report for this task, such as ``exact``."""
    evaluator: ClassVar[str] = ""
    """The evaluator that grades its items where the run measures the task beside the headline (``also``) and names
    none; "" for the method's own."""
    public: ClassVar[tuple[str, ...]] = ()
    """Further attributes that components may read on :attr:`Session.task`; none may lead to references."""

    @abstractmethod
    def load(self, split: Split, /) -> Sequence[tuple[Episode, References]]:
        """All items of a split in their fixed order. The core keeps the references."""

    @abstractmethod
    def prompt(self, query: Query, memory: JSON, /, *, chat: bool) -> Prompt:
        """The answering prompt; ``chat`` says whether the model is an instruct model."""

    @abstractmethod
    def expand(self, recipe: Recipe, episode: Episode, seed: int, /) -> Sequence[Example]:
        """Training sequences of a recipe. Raises :class:`EditFailed` where its arguments are unusable or yield none."""

    @abstractmethod
    def extract(self, query: Query, answer: str, /) -> str | None:
        """The answer itself, without the text around it; None where it cannot be parsed."""

    @abstractmethod
    def same(self, query: Query, a: str, b: str, /) -> bool:
        """Whether two answers mean the same (majority votes need it)."""

    def test_on_all(self) -> None:
        """Called before anything is loaded, where no row of the run uses the train or the validation split.

        A task that divides one set of items into splits may then return all of them as the test split and leave the
        others empty. By default nothing changes.
        """

    def join(self, edits: Sequence[SelfEdit], /) -> Sequence[SelfEdit]:
        """The edits of many episodes as one update should learn them (continued pretraining). By default unchanged."""
        return edits

    def solutions(self, query: Query, /) -> Sequence[str]:
        """Accepted answers to a query that a method made, where the task can work them out. By default none.

        For :meth:`Session.diagnose` alone: no component can ask for them.
        """
        return ()

    def remarks(self, scores: Sequence[Sequence[Sequence[Score]]], /) -> Sequence[str]:
        """Notes on a row of results. ``scores[i][j]`` are the scores of episode i under its edit j. By default none."""
        return ()


@dataclass(frozen=True)
class TrainItem:
    """One adapter to train: a job of :meth:`Session.fit` with its recipes expanded."""

    id: str
    start: State
    """Its adapters are frozen, except the last one where ``start_as`` is ``continue``."""
    data: Sequence[Data]
    seed: int
    settings: JSON = field(default_factory=dict)
    """Complete hyper-parameters, named as in the table of the updater ``lora``."""
    start_as: Literal["stack", "continue"] = "stack"
    """Train a new adapter, or the last one of ``start`` further; see :attr:`UpdateJob.start_as`."""
    retained: Sequence[Example] = ()
    """See :attr:`UpdateJob.retained`."""


@dataclass(frozen=True)
class Trained:
    """What became of an item. ``adapter`` is None unless ``status`` is ``ok``."""

    id: str
    adapter: Artefact | Path | None
    """The new adapter: an :class:`Artefact`, or a folder that holds one in peft's format."""
    status: Status = "ok"
    reason: str = ""
    log: JSON = field(default_factory=dict)
    """``steps``, ``tokens``, ``seconds``, ``loss`` (the mean of the last step), ``norm`` (Frobenius, of the adapter's
    change of the weights); ``cause`` where the status is not ``ok``."""


class Artefact(Protocol):
    """Weights that can name and save themselves: a LoRA adapter, or all weights of a full fine-tune."""

    def digest(self) -> str: ...

    def save(self, folder: Path, /) -> None: ...


class WeightSource(Protocol):
    """Where a model finds the weights that :attr:`State.adapters` names by digest."""

    def adapter(self, digest: str, /) -> Any:
        """The weights as tensors: an :class:`Artefact`."""
        ...

    def folder(self, digest: str, /) -> Path:
        """The weights as a folder of files; an adapter's are in the format that peft loads.

        The folder may go once the state is released or the trial that made it is over, so do not keep the path: call
        this again for every use.
        """
        ...


@dataclass(frozen=True)
class Quote:
    """A remote model and its prices in US dollars per million tokens; None where they are not known."""

    base: str
    can: frozenset[str]
    input_price: float | None = None
    output_price: float | None = None


class Model(Component):
    """A model backend. Components see it as an :class:`LM`, behind the journal.

    A backend has to implement :meth:`generate` only. It lists everything it can do in :attr:`can`; for the rest, the
    methods here raise :class:`HarnessError`.
    """

    base: str
    """Digest of the frozen weights, or a dated remote name such as ``openai:gpt-4.1-2025-04-14``."""
    can: frozenset[str]
    """Subset of ``generate logprobs hidden dropout train seed schema chat``."""
    name: str = ""
    """Its name in tables and messages; "" stands for :attr:`base`."""
    identity: JSON = _NOTHING
    """What an answer depends on besides request and weights (precision, endpoint): part of every journal key."""
    chunk: int = 1024
    """Requests of a pack: asked and booked together. Fewer where each is slow or paid for: a kill loses one pack."""
    wave: int = 64
    """Updates of a pack, at most."""
    local: ClassVar[bool] = False
    """Whether it runs on this machine and costs nothing. ``--dry-run`` constructs and asks local models only."""
    profile: ClassVar[JSON] = _NOTHING
    """Default configuration of runs with this model: ``{"task": ..., "updater": {...}}``."""

    @classmethod
    def quote(cls, settings: Any, /) -> Quote | None:
        """Name, abilities and prices of a model with these settings, for ``--dry-run``, which does not construct it.

        Raises :class:`HarnessError` where it could not be constructed, such as for want of an API key. By default None:
        not known.
        """
        return None

    @abstractmethod
    def generate(self, asks: Sequence[Request], /) -> Sequence[Sequence[Completion]]:
        """``asks[i].n`` completions for every request, in order.

        No text may depend on the other requests or their order. Where there is no text, the completion says why:
        ``failed`` where the request is at fault, ``error`` where the backend is. Raises :class:`HarnessError` only
        where no further call could succeed either.
        """

    def logprobs(
        self, asks: Sequence[tuple[State, Prompt, str]], /, *, dropout: Dropout | None = None
    ) -> Sequence[Sequence[float]]:
        """Natural-log probability of every token of each continuation, given its prompt. By default refused.

        ``dropout`` is passed only to a model that :attr:`can` do it. Returns one sequence per ask, as long as that
        continuation has tokens.
        """
        raise HarnessError(f"{self.base} gives no log-probabilities of a given text; use a local model (hf)")

    def likelihoods(self, asks: Sequence[tuple[State, Prompt, str]], /) -> Sequence[Likelihood]:
        """:meth:`logprobs`, and whether greedy decoding would write the continuation. By default that is not known."""
        return [Likelihood(tuple(row)) for row in self.logprobs(asks)]

    def hidden(
        self,
        asks: Sequence[tuple[State, str]],
        /,
        *,
        layer: int,
        pool: Literal["mean", "last"] = "mean",
        dropout: Dropout | None = None,
    ) -> Sequence[Sequence[float]]:
        """Hidden states after ``layer`` (0 is the embedding, -1 the last layer), pooled over tokens. By default
        refused. ``dropout`` as in :meth:`logprobs`.

        Returns one vector per ask, of the model's hidden size.
        """
        raise HarnessError(f"{self.base} gives no hidden states; use a local model (hf)")

    def train(self, items: Sequence[TrainItem], /, loss: str | Any = "sft") -> Iterator[Trained]:
        """Train one adapter per item; they are yielded in the order in which they finish. By default refused.

        An item that cannot be trained is yielded as ``failed`` or ``error``, never raised. ``loss`` is ``sft``,
        ``dpo``, ``grpo``, ``rloo``, a table of one with its settings (``{"use": "grpo", "kl": 0.1}``), or a callable
        (docs/torch.md).
        """
        raise HarnessError(f"{self.base} cannot be trained; use a local model (hf)")

    def borrow(self, state: State, /) -> AbstractContextManager[Any]:
        """``(nn.Module, tokenizer)`` of a state, with its adapters merged into the weights. By default refused."""
        raise HarnessError(f"{self.base} has no module to lend; use a local model (hf)")

    def merge(self, state: State, /) -> Artefact:
        """All weights, with a state's adapters added (:attr:`UpdateJob.start_as`). By default refused."""
        raise HarnessError(
            f"{self.name or self.base} cannot merge adapters into its weights; use another start_as: 'stack', "
            "'continue' or 'fold'"
        )

    def over_long(self, data: Sequence[Example], max_length: int, /) -> str:
        """Why one of the examples cannot be trained on, such as ``context length 700 > 512``; "" where all can.

        Called before many edits are learnt together, so that an over-long edit fails alone. By default "".
        """
        return ""

    def cannot_read(self, texts: Sequence[str], /) -> str:
        """Why the model can make nothing of such texts, in one line that names it; "" where it can read them.

        Called with a task's contexts and questions when a run begins, so that a score of 0 is not mistaken for a
        finding. By default "".
        """
        return ""

    def memory(self) -> JSON | None:
        """The batch limits measured on this machine, or None (the default).

        They are recorded with the run and passed back as the setting ``memory`` when it resumes, so that batches, and
        with them results, are the same to the bit.
        """
        return None


class Editor(Component):
    """Writes self-edits (training data, or other changes) for the contexts that a model meets."""

    @abstractmethod
    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        """One list of edits per ask, in order; a list may be empty or shorter than ``ask.n``."""


class RewardFunction(Component):
    """Rates candidate edits."""

    updates_per_edit: int = 0
    """Updates needed to rate one edit; for the estimate of what a run will cost."""

    @abstractmethod
    def score(self, groups: Sequence[Group], s: Session, /) -> Sequence[Sequence[Reward]]:
        """One reward per candidate of each group, in order. Sees all groups of the round at once."""


class Updater(Component):
    """Applies self-edits to a state: trains an adapter, changes the memory, or anything else that gives a new state."""

    accepts: frozenset[type]
    """Kinds of :data:`Data` it can learn from; an edit with any other kind is ``failed`` before the updater sees it."""
    wave: int = 64
    """Jobs of a pack, at most: handed over at a time and booked together, so a kill loses no more."""
    rehearses: bool = False
    """Whether it is handed :attr:`UpdateJob.earlier`; only then do its updates depend on those edits."""
    continues: bool = False
    """Whether it can train the start's last adapter further (``start_as = "continue"``). The other values ask nothing
    of an updater: the core hands it the folded or merged state."""

    @abstractmethod
    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        """One :class:`Updated` per job, in the order in which they finish.

        A job that cannot be done is yielded as ``failed`` or ``error``, never raised.
        """


class Evaluator(Component):
    """Puts the queries of episodes to a state and grades the answers. The only kind that sees references."""

    metric: str = ""
    """Name of the measure that its scores report; "" stands for the task's :attr:`Task.metric`."""
    local: bool = True
    """Whether it grades on this machine and costs nothing. ``--dry-run`` asks local evaluators only."""

    @abstractmethod
    def evaluate(
        self, asks: Sequence[Ask], references: Mapping[str, References], s: Session, /
    ) -> Iterator[Sequence[Score]]:
        """Yields the scores of one ask's queries after the other, in the order of ``asks``.

        Args:
            references: episode id -> query id -> accepted answers.
        """


class Trainer(Component):
    """The outer loop: how a policy gets better at writing edits."""

    rounds: int = 0
    """Checkpoints that :meth:`run` yields; for the estimate of what a run will cost. 0: not known."""

    def candidates(self, contexts: int, /) -> int:
        """Edits tried in the whole loop, given the number of contexts in the train split; for the estimate of what a
        run will cost. By default 0."""
        return 0

    @abstractmethod
    def run(self, s: Session, /) -> Iterator[Round]:
        """The outer loop as one generator; every yield is a checkpoint that may be chosen on the validation split."""


# --- what the core offers components -------------------------------------------------------------------------------


class LM(Protocol):
    """A language model, in bulk. Each request names its own state, so requests with different adapters share a
    batch."""

    can: frozenset[str]
    """Subset of ``generate logprobs hidden dropout train seed schema chat``."""
    base: str
    """Digest of the frozen weights; :attr:`State.base` of every state of this model."""

    def generate(self, asks: Sequence[Request], /) -> Sequence[Sequence[Completion]]:
        """``asks[i].n`` completions for every request, in order. Every state must be one of this model; for several
        models see :meth:`Session.generate`."""
        ...

    def logprobs(
        self, asks: Sequence[tuple[State, Prompt, str]], /, *, dropout: Dropout | None = None
    ) -> Sequence[Sequence[float]]:
        """Natural-log probability of every token of each continuation, given its prompt: one sequence per ask.

        With ``dropout``, which the model must be able to do, they are those of one stochastic pass.
        """
        ...

    def likelihoods(self, asks: Sequence[tuple[State, Prompt, str]], /) -> Sequence[Likelihood]:
        """:meth:`logprobs`, and whether greedy decoding would write the continuation: one record per ask."""
        ...

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
        model's hidden size per ask. ``dropout`` as in :meth:`logprobs`."""
        ...


class Session(Protocol):
    """The core's services. Every call is journalled, cached and resumable, and its cost is recorded."""

    task: Task
    roles: MutableMapping[str, State]
    """The state that each role holds now. A role defined as ``@other`` follows the other role."""
    settings: JSON
    """The resolved configuration of the run, read only."""

    def lm(self, who: str | State, /) -> LM:
        """The model behind a role or a state."""
        ...

    def generate(self, requests: Sequence[Request], /) -> Sequence[Sequence[Completion]]:
        """``requests[i].n`` completions for every request, in order; each goes to the model of its own state."""
        ...

    def episodes(self, split: Split, /, limit: int | None = None) -> Sequence[Episode]:
        """A split's episodes as the method may see them."""
        ...

    def make(self, episodes: Sequence[Episode], references: Mapping[str, References], /) -> Sequence[Episode]:
        """Register episodes that the method generated (split ``made``), with the references it gives them."""
        ...

    def propose(self, role: str, asks: Sequence[EditAsk], /) -> Sequence[Group]:
        """Have a role's editor write edits. The editor is in the slot of the role's name, or else in ``editor``."""
        ...

    def reward(self, groups: Sequence[Group], /, name: str = "reward") -> Sequence[Group]:
        """The same groups with their rewards, given by the reward function of slot ``name``."""
        ...

    def update(self, name: str, jobs: Sequence[UpdateJob], /) -> Sequence[Updated]:
        """Apply jobs with the updater of slot ``name``; results in job order. The new states are kept until
        released."""
        ...

    def trial(self, jobs: Sequence[TrialJob], /, name: str = "evaluator") -> Sequence[Sequence[Score]]:
        """Update (slot ``updater``), ask (slot ``name``), release. One sequence per job, in order: the scores of all
        its episodes."""
        ...

    def evaluate(self, asks: Sequence[Ask], /, name: str = "evaluator") -> Sequence[Sequence[Score]]:
        """One sequence of scores per ask, from the evaluator of slot ``name``. On the test split they are booked and
        come back without values."""
        ...

    def expand(self, job: UpdateJob, /) -> Sequence[Data]:
        """All data of a job's edits, with every recipe replaced by the examples that the task expands it to."""
        ...

    def diagnose(self, name: str, labels: Mapping[str, str], /) -> None:
        """Record how a method's guesses (query id -> answer) compare with the hidden references; returns nothing.

        Of the queries that a method made itself, those that the task can solve are compared (:meth:`Task.solutions`).
        The row's notes say what was found.
        """
        ...

    def release(self, states: Sequence[State], /) -> None:
        """Give up states that will not be used again, so that their weights can be deleted."""
        ...

    def fit(self, jobs: Sequence[UpdateJob], /, *, loss: str | Any = "sft") -> Iterator[Updated]:
        """Train LoRA adapters in the batched engine. Each job's ``settings`` are complete hyper-parameters.

        ``loss`` is a name, or a table of a name (``use``) and its settings, which :mod:`harness.engine.losses` lists.
        """
        ...

    def borrow(self, state: State, /) -> AbstractContextManager[Any]:
        """``(nn.Module, tokenizer)`` of a state, with its adapters merged into the weights, whose digest is checked on
        return."""
        ...

    def store(self, tensors: Mapping[str, Any], config: JSON, /) -> str:
        """Store weights; the digest it returns may be used in :attr:`State.adapters` and :class:`Delta`."""
        ...

    def merge(
        self, states: Sequence[State], how: str, /, *, weight: float = 0.0, density: float = 0.5, own: int = 0
    ) -> State:
        """One state in which the last adapters of several states are merged; below them, the states must be alike.

        ``how`` is a way of :func:`harness.engine.merge`, which says what ``weight`` and ``density`` are, or
        ``superposition``: all adapters, read through the key of the one at ``own``. The new weights are in memory until
        the state is released or something refers to it.

        Raises:
            HarnessError: no such way, or states that cannot be merged.
        """
        ...

    def seed(self, *name: object) -> int:
        """A seed in [0, 2**31) derived from the run's root seed and a name."""
        ...

    def keep(self, name: str, value: JSON | None = None, /) -> JSON | None:
        """Journalled scratch space of a method (curricula, pools, Elo ratings). Without a value, returns what was kept
        under the name, or None."""
        ...


# --- measuring a policy --------------------------------------------------------------------------------------------

HEADLINE = "score"
"""Name of the measurement that rows are ranked, compared and gated by."""


@dataclass(frozen=True)
class Measure:
    """Which task is asked, which evaluator grades it, and in which unit."""

    task: str
    version: str
    evaluator: str
    metric: str
    split: Split = "test"
    unit: str = ""
    """"" for fractions in [0, 1], which are shown as points out of 100; else the unit of the values, such as
    ``nats``."""
    lower_is_better: bool = False


@dataclass(frozen=True)
class Measurement:
    """Scores of one measure at one step. Measurements of the same ``name`` become one table of the result file."""

    name: str
    """Name of the table in the result file: letters, digits, ``-``, ``_`` and ``.``."""
    scores: Sequence[Score]
    """In any order, in the measure's unit. Several scores of one query are its samples, of which the mean counts."""
    step: int | None = None
    """Position, 0 or more, in the sequence of measurements of this name; the last step gives the table's figure."""
    measure: str | Measure = ""
    """A key of :attr:`Bench.measures` ("" is the one with the table's name), or a measure of the protocol's own, such
    as the divergence from the base model in nats."""


class Bench(Protocol):
    """A protocol's instruments: one method's policy on one split, measured with the values of its scores.

    Only protocols are handed one. They see test scores, as evaluators see references, and are trusted as much.
    """

    session: Session
    """The method's session: roles, seeds, models, updates and releases."""
    label: str
    """``test`` or ``validation``; part of the seeds' names, so that the two splits draw independently."""
    samples: int
    """Self-edits per episode."""
    updaters: Collection[str]
    """The method's slots of kind ``updater``, for :meth:`Session.update`."""
    has_editor: bool
    """False for a method that deploys its start model as it is, such as a control."""
    measures: Mapping[str, Measure]
    """``score`` (the run's task and the slot ``evaluator``), then the further measures of the run (``also``)."""

    def episodes(self, measure: str = HEADLINE, /) -> Sequence[Episode]:
        """The episodes that the measure asks, as the method may see them."""
        ...

    def full(self, measure: str = HEADLINE, /) -> Sequence[Episode]:
        """The same episodes with their queries, for a protocol that decides what answers each of them."""
        ...

    def edits(self, episodes: Sequence[Episode], /, by: State | None = None) -> Sequence[Group]:
        """:attr:`samples` self-edits per episode, written by the teacher or by the state ``by``; kept with the run.

        They are an earlier run's where the configuration names one (``edits``). Without an editor there are none.
        """
        ...

    def join(self, edits: Sequence[SelfEdit], /) -> tuple[SelfEdit, ...]:
        """Edits that one update learns together, as :meth:`Task.join` combines them; by default unchanged."""
        ...

    def trial(
        self, jobs: Sequence[TrialJob], measures: Collection[str] = (HEADLINE,), /
    ) -> Sequence[Mapping[str, Sequence[Score]]]:
        """Update (slot ``updater``), ask, release: measure -> scores, for each job in order. ``score`` is always asked.

        A measure on the run's own items asks each job's episodes, any other measure all of its own. The scores of an
        update without a result are those of :meth:`unanswered`.
        """
        ...

    def ask(self, asks: Sequence[Ask], measure: str = HEADLINE, /) -> Sequence[Sequence[Score]]:
        """The scores of one measure, with their values: one sequence per ask."""
        ...

    def unanswered(
        self, episodes: Sequence[Episode], updated: Updated, measure: str = HEADLINE, /
    ) -> Sequence[Sequence[Score]]:
        """Scores of episodes whose update has no result: 0.0 where it ``failed``, no value where it met an
        ``error``."""
        ...

    def remark(self, text: str, /) -> None:
        """Add a note to the method's row."""
        ...


class EvaluationProtocol(Component):
    """How a policy is deployed and what is measured of it.

    Every protocol yields the headline, ``score``, on all episodes of the split.
    """

    def work(self, contexts: int, queries: int, samples: int, /) -> tuple[int, int]:
        """The numbers of updates and of answers it needs, for ``--dry-run``; by default those of the protocol
        ``single``."""
        return contexts * samples, queries * samples

    @abstractmethod
    def measure(self, bench: Bench, /) -> Iterator[Measurement]:
        """Yields the measurements, each of one name and one step."""


class EditFailed(Exception):
    """Raised inside a component where one edit is at fault; the message becomes the edit's ``reason``."""


class HarnessError(Exception):
    """Something the user can fix. Shown as one line, without a traceback; the process ends with ``exit_code``."""

    exit_code: ClassVar[int] = 2
