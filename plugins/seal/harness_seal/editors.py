"""The self-edit of knowledge incorporation: text that a model writes about a passage (SEAL, section 3.1 and app. B)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from harness.api import Completion, EditAsk, EditFailed, Editor, Prompt, Recipe, Request, SelfEdit, Session
from harness.registry.prompt_files import load

TEMPLATES = "harness_seal:templates/squad-1.toml"


@dataclass(frozen=True)
class PromptedSettings:
    """Which prompt, and how the text is sampled."""

    prompt: str = "implications"
    """A key of the template file."""
    template: str = TEMPLATES
    """The file with the prompts: the plugin's, or the path of one's own."""
    temperature: float = 1.0
    """Sampling temperature; 0 is greedy decoding."""
    top_p: float = 0.95
    """Nucleus sampling: only the most probable tokens that together have this probability are drawn."""
    max_tokens: int = 1024
    """New tokens per edit (the reference allows 8,192)."""


class Prompted(Editor):
    """Has the policy write an edit from a prompt; its lines and the passage are what will be learnt.

    The text becomes sequences only at the update, by the task's recipes ``lines`` and ``passage``. An edit that the
    task cannot make sequences of is ``failed`` with the task's reason.
    """

    Settings: ClassVar[type[PromptedSettings]] = PromptedSettings

    def __init__(self, settings: PromptedSettings) -> None:
        self._settings = settings
        self._form = load(settings.template, settings.prompt, needs=("text",))

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        """``ask.n`` edits of each ask's passage, written by ``ask.state``."""
        rows = s.generate([self._request(ask, chat="chat" in s.lm(ask.state).can) for ask in asks])
        return [
            [self._edit(ask, n, one, s) for n, one in enumerate(completions)]
            for ask, completions in zip(asks, rows, strict=True)
        ]

    def _request(self, ask: EditAsk, *, chat: bool) -> Request:
        settings = self._settings
        return Request(
            ask.state,
            self._prompt(ask, chat=chat),
            n=ask.n,
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_tokens=settings.max_tokens,
            seed=ask.seed,
        )

    def _prompt(self, ask: EditAsk, *, chat: bool) -> Prompt:
        return self._form.fill({name: str(ask.episode.context[name]).strip() for name in ("title", "text")}, chat=chat)

    def _edit(self, ask: EditAsk, n: int, completion: Completion, s: Session) -> SelfEdit:
        episode = ask.episode
        # What the completion goes on from is part of the text, unless the model wrote it itself.
        cue, marker = (self._form.extras.get(name, "") for name in ("cue", "marker"))
        if completion.text.lstrip().startswith(cue.strip()):
            cue = ""
        text = completion.text.strip()
        args = {"text": cue + text if text else ""}
        if marker:
            args["marker"] = marker
        lines = Recipe("lines", args)
        reason = completion.reason if completion.finish == "failed" else ""
        if completion.finish in ("stop", "length"):
            try:
                s.task.expand(lines, episode, ask.seed)
            except EditFailed as why:
                reason = str(why)
        data = (lines, Recipe("passage"))
        edit = SelfEdit(f"{episode.id}/{n}", episode.id, data, actions=(completion,))
        return replace(edit, status="failed", reason=reason) if reason else edit


class Implications(Prompted):
    """What follows from the passage: the paper's own prompt."""


class ImplicationsLong(Prompted):
    """A long list of what follows from the passage."""

    @dataclass(frozen=True)
    class Settings(PromptedSettings):
        prompt: str = "implications-long"


class ImplicationsVeryLong(Prompted):
    """A very long list of what follows from the passage."""

    @dataclass(frozen=True)
    class Settings(PromptedSettings):
        prompt: str = "implications-very-long"


class Rewrite(Prompted):
    """The passage in other words, several times: the paper's strongest prompt."""

    @dataclass(frozen=True)
    class Settings(PromptedSettings):
        prompt: str = "rewrite"


class SelfQa(Prompted):
    """The passage as questions with answers."""

    @dataclass(frozen=True)
    class Settings(PromptedSettings):
        prompt: str = "self-qa"


class ImplicationsChainOfThought(Prompted):
    """Thoughts first, which are not learnt, then what follows from the passage."""

    @dataclass(frozen=True)
    class Settings(PromptedSettings):
        prompt: str = "implications-chain-of-thought"


class NoPrompt(Prompted):
    """However the model goes on from the bare passage: the paper's negative control."""

    @dataclass(frozen=True)
    class Settings(PromptedSettings):
        prompt: str = "no-prompt"
