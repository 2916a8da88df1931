"""The plugin contract, version 2: records, the base classes of components, and the protocols of what they are handed.

A component derives from the base class of its kind: :class:`Task`, :class:`Model`, :class:`Editor`,
:class:`RewardFunction`, :class:`Updater`, :class:`Evaluator` or :class:`Trainer`. What is abstract there must be
written; everything else has a default, which the docstring explains. :class:`Session` and :class:`LM` are what a
component is handed. Nothing outside the standard library is imported, so a plugin module that imports only this file
loads in milliseconds.

The shape of the whole (SEAL, arXiv 2506.10943, section 3, generalised)::

    Task -> Episode(context) -> Editor -> SelfEdit -> Updater -> State -> Evaluator -> Score
                                  ^                                |
                                policy <- Trainer <- Reward <------+

Four rules hold everywhere:

* **Bulk.** A component sees all items of a call at once and answers in their order, so that the engine can batch.
* **Every effect is a Session call.** It is journalled under the digest of what it is, so that a killed run replays.
* **Two kinds of failure.** ``failed`` is the method's doing and counts as wrong. ``error`` is ours: it has no value,
  is retried, and leaves the row incomplete. Neither is ever a silent zero.
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
"""Raised when a plugin written for the old contract would stop working; arguments are otherwise only added."""

JSON: TypeAlias = Mapping[str, Any]
"""A JSON object. Digests are taken over its canonical form: sorted keys, no NaN."""

Turns: TypeAlias = tuple[tuple[str, str], ...]
"""A conversation: ``(role, text)`` pairs; the model's own chat template renders it."""

Prompt: TypeAlias = str | Turns
"""Raw text for a base model, or a conversation for an instruct model."""

Split: TypeAlias = Literal["train", "validation", "test", "made"]
"""``made`` holds the episodes that a method wrote itself (R-Zero, Evol-Instruct), with its own references."""

Status: TypeAlias = Literal["ok", "failed", "error"]
StartAs: TypeAlias = Literal["stack", "continue", "fold", "merge"]
"""What becomes of a start's adapters in an update; see :attr:`UpdateJob.start_as`."""
Finish: TypeAlias = Literal["stop", "length", "failed", "error"]
"""How a completion ended: by itself, at ``max_tokens``, or not at all, by the method's doing or by ours."""

References: TypeAlias = Mapping[str, Sequence[str]]
"""Query id -> accepted answers."""


# --- what is learnt from, and who learns ---------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """An immutable name for "a model as it is now". The weights themselves live in the core's store."""

    base: str
    """Digest of the frozen weights, or a dated remote name such as ``openai:gpt-4.1-2025-04-14``."""
    adapters: tuple[str, ...] = ()
    """Digests of what was learnt since, in the order of application: policy, then inner update, ..."""
    memory: JSON = field(default_factory=dict)
    """What is added to prompts: a passage, a playbook, retrieved text."""


@dataclass(frozen=True)
class Query:
    """One question about an episode. Never holds the references."""

    id: str
    text: str
    meta: JSON = field(default_factory=dict)


@dataclass(frozen=True)
class Episode:
    """Something new that a model meets, and the queries that test what it made of it."""

    id: str
    split: Split
    context: JSON
    """What a method may see: ``{"title", "text"}`` | ``{"demos"}`` | ``{"claim"}`` | ..., as the task documents."""
    queries: tuple[Query, ...] = ()
    """Empty in what a method sees when its card says ``sees="context"``; the core keeps the full episode."""
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
    """Natural logarithm of each token's probability, under the model itself: temperature 1, the whole vocabulary."""
    finish: Finish = "stop"
    """``failed``: the model does not take this prompt (too long, refused). ``error``: no answer came; ``resume`` asks
    again."""
    cost: JSON = field(default_factory=dict)
    """``prompt_tokens``, ``completion_tokens``, and ``usd`` where there is a price."""
    reason: str = ""
    """Why there is no text, where ``finish`` is ``failed`` or ``error``: ``context length 900 > 512``."""


# --- what an edit is made of ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    """One training sequence. The loss is on ``target`` only; with an empty prompt, on everything."""

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


Data: TypeAlias = Example | Preference | Rollout | Recipe | MemoryOps | Delta


@dataclass(frozen=True)
class SelfEdit:
    """What a model (or a teacher) wrote so that it may learn: training data, and the settings to learn them with."""

    id: str
    """Unique within the run; by convention ``<episode>/<sample index>``."""
    episode: str
    data: tuple[Data, ...]
    settings: JSON = field(default_factory=dict)
    """The edit's own update settings (SEAL's ARC edits choose rate, epochs and loss mask)."""
    actions: tuple[Completion, ...] = ()
    """The completions that wrote it: what an outer loop trains the policy on."""
    status: Status = "ok"
    reason: str = ""


# --- updates -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class UpdateJob:
    """A start and the edits to apply to it.

    One edit is a single-passage update, all edits are continued pretraining, the last state as ``start`` is continual
    editing, the policy as ``start`` is the outer step.
    """

    id: str
    start: State
    edits: tuple[SelfEdit, ...]
    seed: int
    settings: JSON = field(default_factory=dict)
    """Overrides of the updater's settings; the edits' own settings come on top."""
    start_as: StartAs = "stack"
    """What becomes of the adapters of ``start``, which computes the same function whichever is taken:

    * ``stack``: they stay, frozen, and a new adapter is trained on top. Every update makes all later ones slower.
    * ``continue``: the last one is trained on, and the result takes its place; its optimiser's state goes on too where
      the training setting ``keep_optimizer`` says so. Rank, alpha and targets of the update must be that adapter's.
    * ``fold``: they become one adapter of the rank that their sum has, frozen, below a new one.
    * ``merge``: they are added into the weights (summed in fp32, rounded once), below a new one.

    ``fold`` and ``merge`` leave a start without adapters as it is; ``continue`` has nothing to continue there.
    """


@dataclass(frozen=True)
class Updated:
    """What became of a job. ``state`` is None unless ``status`` is ``ok``."""

    job: str
    state: State | None
    status: Status = "ok"
    reason: str = ""
    log: JSON = field(default_factory=dict)
    """``steps``, ``tokens``, ``seconds``, ``loss`` (last step's mean), and whatever else the updater reports."""


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
    """A number for one candidate; None where it could not be had (status ``error``)."""

    value: float | None
    status: Status = "ok"
    measures: JSON = field(default_factory=dict)
    """What the number was made of, by name, and ``reason`` where the status is not ``ok``."""


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
    """The candidates for one ask; ``rewards`` is parallel to ``edits`` once they are known."""

    ask: EditAsk
    edits: tuple[SelfEdit, ...]
    rewards: tuple[Reward, ...] = ()


@dataclass(frozen=True)
class Round:
    """A checkpoint of the outer loop: who holds which state now, and what was measured on the way."""

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
    """A recipe: which components play together, in which roles, and the card that says what the method may do."""

    name: str
    paper: str
    """arXiv id or URL, with the section; "" for a control of our own."""
    summary: str
    """One line, shown by ``harness plugins list --verbose``."""
    components: Mapping[str, JSON]
    """Slot -> ``{"use": component, **settings}``. The slots ``editor``, ``reward``, ``updater``, ``evaluator`` and
    ``trainer`` are of the kind they are named after; any other names its ``kind``, such as
    ``"policy": {"kind": "updater", "use": "lora"}``."""
    roles: Mapping[str, str] = field(default_factory=lambda: {"teacher": "model", "student": "@teacher"})
    """Role -> ``"model"`` (the run's model), a model spec of its own, or ``"@other"`` (whatever that role is now)."""
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
    """Methods that ``harness run`` runs beside this one, so that its figure means something."""
    presets: Mapping[str, JSON] = field(default_factory=dict)
    """Named configurations; one named like the model (``lab``) is taken by default with that model."""


@dataclass(frozen=True)
class Command:
    """A verb that a plugin adds to the command line (``harness_commands``)."""

    target: str
    """``"module:attribute"`` of a ``typer.Typer`` (a verb with verbs of its own) or of a function that typer takes."""
    help: str
    """One line of ``harness --help``."""


# --- what the core asks of components ------------------------------------------------------------------------------


_NOTHING: JSON = MappingProxyType({})


class Ledger(Protocol):
    """The accounts of one run: a call is entered before it is sent, and settled when it ends. Threads may share it.

    They hold over all lives of the run. What was on the way when a process was killed counts as spent.
    """

    def reserve(self, account: str, request: str, usd: float, limit: float = 0.0) -> int:
        """Enter a call, as soon as there is room for it beside those on the way; answers the entry's number.

        ``account`` is the model, ``request`` a digest of what is asked, ``usd`` the most that it may cost, and
        ``limit`` what the account may come to (0: no limit). Raises :class:`HarnessError` where that is reached.
        """
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
        """Enter how a call ended: what it cost (None: not known, so the most that it may), the model that the endpoint
        says has answered, and what came, as plain JSON."""
        ...

    def answers(self, request: str) -> Sequence[JSON]:
        """All that came for a request, in any life of the run: it is paid for, and need not be asked again."""
        ...


class Component(ABC):  # noqa: B024  (its kinds have the abstract methods)
    """What the kinds have in common. A component derives from the base class of its kind, not from this one.

    It is made as ``Class(settings, **nested)``, and a model with the further argument ``weights``
    (:class:`WeightSource`); ``settings`` is left out where the class has no :attr:`Settings`.
    """

    Settings: ClassVar[type | None] = None
    """A frozen dataclass of defaults: everything that a configuration may set. None: there is nothing to set.

    A field that cannot change a score (a cache, a limit on cost) says so in its metadata, and rows that differ in it
    alone are compared: ``field(default=0, metadata={"changes_scores": False})``.
    """
    nested: ClassVar[Mapping[str, str]] = _NOTHING
    """Components that this one is made around: constructor argument -> kind, such as ``{"inner": "editor"}``.

    Their tables stand under the argument's name in this one's table. Only a model may be made around models: every
    other component asks models through the session.
    """
    meta_s: float = 0.0
    """Seconds of one-off training before any run (a trained generator); shown apart from a run's own cost."""
    ledger: Ledger | None = None
    """What calls that cost money are entered in. The core sets a run's own before it asks anything of a model or an
    evaluator, and of what is nested in them; None outside of a run."""


class Task(Component):
    """A benchmark: splits, prompts, what counts as an answer, and how edits become training sequences."""

    name: str
    version: str
    """Part of every row's comparability key: change it whenever items, prompts or scoring change."""
    metric: str
    """Name of the headline measure that an evaluator reports for this task."""
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
        """Training sequences of a recipe. Raises :class:`EditFailed` where the recipe's arguments make none."""

    @abstractmethod
    def extract(self, query: Query, answer: str, /) -> str | None:
        """The answer proper within a model's text; None when it cannot be parsed."""

    @abstractmethod
    def same(self, query: Query, a: str, b: str, /) -> bool:
        """Whether two answers mean the same (majority votes need it)."""

    def test_on_all(self) -> None:
        """Said before anything is loaded where no row of the run trains on or validates with the other splits.

        A task that deals one set of items into splits may then give all of them as the test split, and nothing as the
        others. By default nothing changes.
        """

    def join(self, edits: Sequence[SelfEdit], /) -> Sequence[SelfEdit]:
        """Edits of many episodes as they are learnt in one update (continued pretraining). By default as they are."""
        return edits

    def remarks(self, scores: Sequence[Sequence[Sequence[Score]]], /) -> Sequence[str]:
        """Notes beside a row of results. ``scores[i][j]`` are those of episode i under its edit j. By default none."""
        return ()


@dataclass(frozen=True)
class TrainItem:
    """One adapter to train: a job of :meth:`Session.fit` with its recipes expanded."""

    id: str
    start: State
    """Its adapters are frozen beneath the new one, save a last one that is continued."""
    data: Sequence[Data]
    seed: int
    settings: JSON = field(default_factory=dict)
    """Complete hyper-parameters, named as in the table of the updater ``lora``."""
    start_as: Literal["stack", "continue"] = "stack"
    """A new adapter, or the last one of ``start`` trained on; see :attr:`UpdateJob.start_as`."""


@dataclass(frozen=True)
class Trained:
    """What became of an item. ``adapter`` is None unless ``status`` is ``ok``."""

    id: str
    adapter: Artefact | Path | None
    """The new adapter: an :class:`Artefact`, or a folder that holds one in peft's format."""
    status: Status = "ok"
    reason: str = ""
    log: JSON = field(default_factory=dict)
    """``steps``, ``tokens``, ``seconds``, ``loss`` (last step's mean); ``cause`` where the status is not ``ok``."""


class Artefact(Protocol):
    """Weights that can name and save themselves: a LoRA adapter, or all weights of a full fine-tune."""

    def digest(self) -> str: ...

    def save(self, folder: Path, /) -> None: ...


class WeightSource(Protocol):
    """The weights of a run, as a model finds those that :attr:`State.adapters` names."""

    def adapter(self, digest: str, /) -> Any:
        """The weights as tensors: an :class:`Artefact`."""
        ...

    def folder(self, digest: str, /) -> Path:
        """The weights as files: a folder, an adapter's in the format that peft loads.

        It stays until the state is released or the trial that made it is over; ask again for every call.
        """
        ...


@dataclass(frozen=True)
class Quote:
    """A model that is not local, and its prices in US dollars per million tokens; None where they are not known."""

    base: str
    can: frozenset[str]
    input_price: float | None = None
    output_price: float | None = None


class Model(Component):
    """A model backend. To components it appears as :class:`LM`, behind the journal.

    :meth:`generate` is all that a backend needs. What else it can do stands in :attr:`can`; what it cannot is left to
    the defaults here, which refuse.
    """

    base: str
    """Digest of the frozen weights, or a dated remote name such as ``openai:gpt-4.1-2025-04-14``."""
    can: frozenset[str]
    """Subset of ``generate logprobs hidden train seed schema chat``."""
    name: str = ""
    """What people call it, in tables and messages; "" is :attr:`base`."""
    identity: JSON = _NOTHING
    """What an answer depends on besides request and weights (precision, endpoint): part of every journal key."""
    chunk: int = 1024
    """Requests booked together. Fewer where each is slow or paid for, so that a kill loses little."""
    wave: int = 64
    """Updates booked together at most."""
    local: ClassVar[bool] = False
    """Whether it runs on this machine and costs nothing. ``--dry-run`` makes and asks no other model."""
    profile: ClassVar[JSON] = _NOTHING
    """Configuration that a run with this model takes unless told otherwise: ``{"task": ..., "updater": {...}}``."""

    @classmethod
    def quote(cls, settings: Any, /) -> Quote | None:
        """What can be said of a model of these settings before it is made or asked, for ``--dry-run``.

        Raises :class:`HarnessError` where it could not be made, such as for a missing key. By default None: not known.
        """
        return None

    @abstractmethod
    def generate(self, asks: Sequence[Request], /) -> Sequence[Sequence[Completion]]:
        """``asks[i].n`` completions for every request, in order.

        No text depends on the other requests or their order. What could not be had is a completion too: ``failed``
        where the request is at fault, ``error`` where we are. Raises :class:`HarnessError` where no further call would
        be answered.
        """

    def logprobs(self, asks: Sequence[tuple[State, Prompt, str]], /) -> Sequence[Sequence[float]]:
        """Natural-log probability of every token of each continuation after its prompt. By default refused."""
        raise HarnessError(f"{self.base} gives no log-probabilities of a given text; use a local model (hf)")

    def hidden(
        self, asks: Sequence[tuple[State, str]], /, *, layer: int, pool: Literal["mean", "last"] = "mean"
    ) -> Sequence[Sequence[float]]:
        """Pooled hidden states after ``layer`` (0 is the embedding, -1 the last), one vector per text. Or refused."""
        raise HarnessError(f"{self.base} gives no hidden states; use a local model (hf)")

    def train(self, items: Sequence[TrainItem], /, loss: str | Any = "sft") -> Iterator[Trained]:
        """One adapter per item, in order of completion; never an exception for one item. By default refused.

        ``loss`` is ``sft``, ``dpo``, ``grpo``, ``rloo`` or a callable (docs/torch.md).
        """
        raise HarnessError(f"{self.base} cannot be trained; use a local model (hf)")

    def borrow(self, state: State, /) -> AbstractContextManager[Any]:
        """``(nn.Module, tokenizer)`` of a state, its adapters in the weights. By default refused."""
        raise HarnessError(f"{self.base} has no module to lend; use a local model (hf)")

    def merge(self, state: State, /) -> Artefact:
        """All weights with a state's adapters added in (:attr:`UpdateJob.start_as`). By default refused."""
        raise HarnessError(
            f"{self.name or self.base} cannot merge adapters into its weights; take another start_as: 'stack', "
            "'continue' or 'fold'"
        )

    def over_long(self, data: Sequence[Example], max_length: int, /) -> str:
        """Why one of the examples could not be trained on, as ``context length 700 > 512``; "" if all could.

        Asked before many edits are learnt together, so that an over-long one costs itself only. By default "".
        """
        return ""

    def cannot_read(self, texts: Sequence[str], /) -> str:
        """Why texts such as these mean nothing to the model, in one line that names it; "" where they do.

        Asked with a task's contexts and questions when a run begins, so that a score of 0 is not taken for a finding.
        By default "".
        """
        return ""

    def memory(self) -> JSON | None:
        """Batch limits that were found for this machine, or None (the default).

        They are recorded with the run and given back as the setting ``memory`` when it resumes: the same batches, the
        same bits.
        """
        return None


class Editor(Component):
    """Writes self-edits: training data, or other changes, for the contexts that a model meets."""

    @abstractmethod
    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        """One list per ask, in order; a list may be empty or shorter than ``ask.n``."""


class RewardFunction(Component):
    """Says what each candidate edit was worth."""

    updates_per_edit: int = 0
    """Updates that rating one edit takes; for the estimate of what a run will cost."""

    @abstractmethod
    def score(self, groups: Sequence[Group], s: Session, /) -> Sequence[Sequence[Reward]]:
        """One reward per candidate, in order. Sees all groups of the round."""


class Updater(Component):
    """Applies self-edits to a state: trains an adapter, changes the memory, or anything else that gives a new state."""

    accepts: frozenset[type]
    """Kinds of :data:`Data` it can learn from; an edit with another kind is ``failed`` before the updater sees it."""
    wave: int = 64
    """Jobs it is handed at a time, and booked together: a kill loses no more. Part of what makes batches repeat."""
    continues: bool = False
    """Whether it can train a start's last adapter on (``start_as = "continue"``). The other ways to start need nothing
    of an updater: it is handed the folded or merged state."""

    @abstractmethod
    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        """One :class:`Updated` per job, in order of completion; never an exception for a single job's failure."""


class Evaluator(Component):
    """Asks a state the queries of episodes, and marks the answers. The only kind that sees references."""

    metric: str = ""
    """Name of the measure that its values are; "" is the task's own."""
    local: bool = True
    """Whether it grades on this machine and costs nothing. ``--dry-run`` asks no other evaluator."""

    @abstractmethod
    def evaluate(
        self, asks: Sequence[Ask], references: Mapping[str, References], s: Session, /
    ) -> Iterator[Sequence[Score]]:
        """The scores of each ask's queries, ask by ask in order.

        Args:
            references: episode id -> query id -> accepted answers.
        """


class Trainer(Component):
    """The outer loop: how a policy gets better at writing edits."""

    rounds: int = 0
    """Checkpoints that :meth:`run` yields; for the estimate of what a run will cost. 0: not known."""

    def candidates(self, contexts: int, /) -> int:
        """Edits that are tried in all, where the train split has so many contexts; for the estimate. By default 0."""
        return 0

    @abstractmethod
    def run(self, s: Session, /) -> Iterator[Round]:
        """The outer loop as one generator; every yield is a checkpoint that may be chosen on the validation split."""


# --- what components are handed ------------------------------------------------------------------------------------


class LM(Protocol):
    """A language model, in bulk. Each request names its own state, so different adapters share a batch."""

    can: frozenset[str]
    """Subset of ``generate logprobs hidden train seed schema chat``."""
    base: str
    """Digest of the frozen weights; :attr:`State.base` of every state of this model."""

    def generate(self, asks: Sequence[Request], /) -> Sequence[Sequence[Completion]]:
        """``asks[i].n`` completions for every request, in order. All of this model: see :meth:`Session.generate`."""
        ...

    def logprobs(self, asks: Sequence[tuple[State, Prompt, str]], /) -> Sequence[Sequence[float]]:
        """Natural-log probability of every token of the given continuation after the prompt."""
        ...

    def hidden(
        self, asks: Sequence[tuple[State, str]], /, *, layer: int, pool: Literal["mean", "last"] = "mean"
    ) -> Sequence[Sequence[float]]:
        """Pooled hidden states after ``layer`` (0 is the embedding, -1 the last), one vector of the model's width."""
        ...


class Session(Protocol):
    """The core's services. Every call is journalled, cached, resumable and costed."""

    task: Task
    roles: MutableMapping[str, State]
    """Who holds which state now. A role defined as ``@other`` follows the other one."""
    settings: JSON
    """The resolved configuration of the run, read only."""

    def lm(self, who: str | State, /) -> LM:
        """The model behind a role or a state."""
        ...

    def generate(self, requests: Sequence[Request], /) -> Sequence[Sequence[Completion]]:
        """``requests[i].n`` completions for every request, in order; each is asked of its own state's model."""
        ...

    def episodes(self, split: Split, /, limit: int | None = None) -> Sequence[Episode]:
        """A split's episodes as the method may see them."""
        ...

    def make(self, episodes: Sequence[Episode], references: Mapping[str, References], /) -> Sequence[Episode]:
        """Register episodes of the method's own (split ``made``), with its own references."""
        ...

    def propose(self, role: str, asks: Sequence[EditAsk], /) -> Sequence[Group]:
        """Have a role's editor write edits: the slot named like the role, else the slot ``editor``."""
        ...

    def reward(self, groups: Sequence[Group], /, name: str = "reward") -> Sequence[Group]:
        """The same groups with their rewards, from the slot ``name``."""
        ...

    def update(self, name: str, jobs: Sequence[UpdateJob], /) -> Sequence[Updated]:
        """Apply jobs with the updater of slot ``name``, in job order; the new states are kept until released."""
        ...

    def trial(self, jobs: Sequence[TrialJob], /, name: str = "evaluator") -> Sequence[Sequence[Score]]:
        """Update (slot ``updater``), ask (slot ``name``), release; the scores of each job's episodes, in job order."""
        ...

    def evaluate(self, asks: Sequence[Ask], /, name: str = "evaluator") -> Sequence[Sequence[Score]]:
        """Scores from the slot ``name``, ask by ask. On the test split they are booked and come back without values."""
        ...

    def expand(self, job: UpdateJob, /) -> Sequence[Data]:
        """All data of a job's edits, with recipes replaced by what the task makes of them."""
        ...

    def diagnose(self, name: str, labels: Mapping[str, str], /) -> None:
        """Book how a method's guesses (query id -> answer) compare with the hidden references; nothing comes back."""
        ...

    def release(self, states: Sequence[State], /) -> None:
        """Give up states that nobody will ask again, so that their weights can go."""
        ...

    def fit(self, jobs: Sequence[UpdateJob], /, *, loss: str | Any = "sft") -> Iterator[Updated]:
        """Train LoRA adapters in the batched engine. Each job's ``settings`` are complete hyper-parameters."""
        ...

    def borrow(self, state: State, /) -> AbstractContextManager[Any]:
        """``(nn.Module, tokenizer)`` of a state, with its adapters in the weights; digest checked on return."""
        ...

    def store(self, tensors: Mapping[str, Any], config: JSON, /) -> str:
        """Keep weights; the digest that comes back may be used in :attr:`State.adapters` and :class:`Delta`."""
        ...

    def seed(self, *name: object) -> int:
        """A seed in [0, 2**31) derived from the run's root seed and a name."""
        ...

    def keep(self, name: str, value: JSON | None = None, /) -> JSON | None:
        """Journalled scratch of a method: curricula, pools, Elo. Without a value, what was kept."""
        ...


# --- measuring a policy --------------------------------------------------------------------------------------------

HEADLINE = "score"
"""Name of the measurement that rows are ranked, compared and gated by."""


@dataclass(frozen=True)
class Measure:
    """What is asked, who grades it, and what the values are."""

    task: str
    version: str
    evaluator: str
    metric: str
    split: Split = "test"
    unit: str = ""
    """"" for shares in [0, 1], which are shown as points out of 100; else the unit of the values, such as ``nats``."""
    lower_is_better: bool = False


@dataclass(frozen=True)
class Measurement:
    """Scores of one measure at one step; all of one ``name`` become one table of the result file."""

    name: str
    """Table of the result file: letters, digits, ``-``, ``_`` and ``.``."""
    scores: Sequence[Score]
    """In any order; several of one query are its samples, whose mean counts. Values are in the measure's unit."""
    step: int | None = None
    """Place in a sequence of measurements of this name, 0 or more; the last step's scores are the table's figure."""
    measure: str | Measure = ""
    """A name of :attr:`Bench.measures` ("" is the one named like the table), or a measure of the protocol's own, such
    as the divergence from the base model in nats."""


class Bench(Protocol):
    """What a protocol measures with: one method's policy on one split, with the values of its scores.

    Only protocols are handed one. They see test scores, as evaluators see references, and are trusted like them.
    """

    session: Session
    """The method's session: roles, seeds, models, updates and releases."""
    label: str
    """``test`` or ``validation``; part of the seeds' names, so that the two draw apart."""
    samples: int
    """Self-edits per episode."""
    updaters: Collection[str]
    """The method's slots of kind ``updater``, for :meth:`Session.update`."""
    has_editor: bool
    """False for a method that deploys its start model, such as a control."""
    measures: Mapping[str, Measure]
    """``score`` (the run's task and the slot ``evaluator``), then those that the run measures beside it (``also``)."""

    def episodes(self, measure: str = HEADLINE, /) -> Sequence[Episode]:
        """What the measure asks, as the method may see it."""
        ...

    def edits(self, episodes: Sequence[Episode], /, by: State | None = None) -> Sequence[Group]:
        """The teacher's self-edits, :attr:`samples` per episode (``by`` another state, where given); they are kept with
        the run. Those of an earlier run where the configuration says so (``edits``); nothing without an editor."""
        ...

    def join(self, edits: Sequence[SelfEdit], /) -> tuple[SelfEdit, ...]:
        """Edits that one update learns together, as the task joins them; by default as they are."""
        ...

    def trial(
        self, jobs: Sequence[TrialJob], measures: Collection[str] = (HEADLINE,), /
    ) -> Sequence[Mapping[str, Sequence[Score]]]:
        """Update (slot ``updater``), ask, release: measure -> scores, for each job in order. ``score`` is always asked.

        A measure of the run's own items asks each job's episodes, any other one all episodes of its own. An update that
        came to nothing scores as :meth:`unanswered` says.
        """
        ...

    def ask(self, asks: Sequence[Ask], measure: str = HEADLINE, /) -> Sequence[Sequence[Score]]:
        """Scores of one measure with their values, ask by ask."""
        ...

    def unanswered(
        self, episodes: Sequence[Episode], updated: Updated, measure: str = HEADLINE, /
    ) -> Sequence[Sequence[Score]]:
        """Scores of episodes whose update came to nothing: 0.0 where it ``failed``, no value where it is ``error``."""
        ...

    def remark(self, text: str, /) -> None:
        """A note on the method's row."""
        ...


class EvaluationProtocol(Component):
    """How a policy is deployed and what is measured of it.

    Every protocol yields the headline, ``score``, on all episodes of the split.
    """

    def work(self, contexts: int, queries: int, samples: int, /) -> tuple[int, int]:
        """Updates and answers that it takes, for ``--dry-run``; by default those of the protocol ``single``."""
        return contexts * samples, queries * samples

    @abstractmethod
    def measure(self, bench: Bench, /) -> Iterator[Measurement]:
        """The measurements, one name and step at a time."""


class EditFailed(Exception):
    """Raised inside a component where one edit is at fault; the message becomes the edit's ``reason``."""


class HarnessError(Exception):
    """Something the user can mend. Shown as one line, without a traceback; ``exit_code`` is the process's."""

    exit_code: ClassVar[int] = 2
