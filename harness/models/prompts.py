"""Prompts as token ids: raw text as it is, conversations through the model's own chat template."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import date
from typing import Any

from harness.api import Prompt
from harness.errors import UsageError

# Templates that write today's date would make every day's prompts, and so every day's answers, differ.
_NOW = re.compile(r"""strftime_now\(\s*("[^"]*"|'[^']*')\s*\)""")


class PromptEncoder:
    """Turns prompts and texts into the token ids that the model is asked, scored and trained with.

    Args:
        tokenizer: of the checkpoint.
        eos_token_ids: ids at which the model stops writing.
        name: the model's, for messages.
        today: the day that templates which write a date get to see (``2024-07-26``).
        thinking: whether templates that can open a thinking block do so.
    """

    def __init__(
        self, tokenizer: Any, eos_token_ids: Collection[int], name: str, *, today: str, thinking: bool
    ) -> None:
        self.tokenizer = tokenizer
        self.eos_token_ids = frozenset(eos_token_ids)
        self._name = name
        self._variables = {"date_string": _day(today).strftime("%d %b %Y"), "enable_thinking": thinking}
        self._front = self._starts_with()
        template = tokenizer.chat_template
        self._template = (
            _NOW.sub(lambda call: repr(_day(today).strftime(call[1][1:-1])), template)
            if isinstance(template, str)
            else None
        )

    @property
    def has_template(self) -> bool:
        """Whether turns can be rendered."""
        return self._template is not None

    @property
    def end_token_id(self) -> int | None:
        """What ends a text in training: the tokenizer's end token if the model stops at it, else one it stops at."""
        own = self.tokenizer.eos_token_id
        return own if own in self.eos_token_ids else min(self.eos_token_ids, default=None)

    def is_instruct(self) -> bool:
        """Whether the model was trained to chat: it stops where its template ends a turn.

        A base model may ship with a chat template too (Qwen2.5 does); its end-of-text token tells it apart.
        """
        if self._template is None:
            return False
        try:
            text = self._render((("user", "?"), ("assistant", "!")))
        except UsageError:
            return False
        return self._plain(text.rstrip())[-1:] in {(token,) for token in self.eos_token_ids}

    def prompt_ids(self, prompt: Prompt) -> tuple[int, ...]:
        """The ids of a prompt, never empty: where a tokenizer makes nothing of it, its start or end token stands alone.

        Raises:
            UsageError: turns for a model without a chat template, or turns that its template refuses.
        """
        ids = self.text_ids(prompt) if isinstance(prompt, str) else self._plain(self._render(prompt))
        return ids or (self._start_id(),)

    def text_ids(self, text: str) -> tuple[int, ...]:
        """The ids of raw text, after the start token where the tokenizer writes one and the text does not."""
        ids = self._plain(text)
        return ids if ids[: len(self._front)] == self._front else self._front + ids

    def continuation_ids(self, prompt: Prompt, text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ids of a prompt and of a text that follows it.

        Prompt and text are encoded together where that leaves the prompt's ids as they are (so that a leading space is
        the model's own), else apart (a merge across the border, which generation can never produce).
        """
        before = self.prompt_ids(prompt)
        together = self.text_ids(prompt + text) if isinstance(prompt, str) else self._plain(self._render(prompt) + text)
        if before == together[: len(before)]:
            return before, together[len(before) :]
        return before, self._plain(text)

    def decode(self, ids: Collection[int]) -> str:
        """The text of generated ids, special tokens left out."""
        text = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text)

    def _plain(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _starts_with(self) -> tuple[int, ...]:
        start = self.tokenizer.bos_token_id
        return (start,) if start is not None and self.tokenizer("a")["input_ids"][:1] == [start] else ()

    def _start_id(self) -> int:
        for token in (self.tokenizer.bos_token_id, self.end_token_id, self.tokenizer.pad_token_id):
            if token is not None:
                return int(token)
        raise UsageError(f"model {self._name!r}: its tokenizer makes nothing of an empty prompt and has no start token")

    def _render(self, turns: tuple[tuple[str, str], ...]) -> str:
        if self._template is None:
            raise UsageError(
                f"model {self._name!r} has no chat template, so it takes raw text, not turns; "
                "use an instruct model, or set chat = false"
            )
        if not turns:
            raise UsageError(f"model {self._name!r}: a conversation without turns")
        messages = [{"role": role, "content": text} for role, text in turns]
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages,
                    chat_template=self._template,
                    tokenize=False,
                    add_generation_prompt=turns[-1][0] != "assistant",
                    **self._variables,
                )
            )
        except Exception as error:  # a template is a program of the model's author, and fails in its own ways
            raise UsageError(f"model {self._name!r}: its chat template refuses these turns: {error}") from error


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"model hf: today = {text!r} is no date of the form 2024-07-26") from error
