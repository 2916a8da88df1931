"""Encodes prompts as token ids: raw text as it is, conversations by the model's own chat template."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import date
from typing import Any

from harness.api import Prompt
from harness.errors import UsageError

# Templates that write today's date would change prompts, and so answers, from day to day.
_NOW = re.compile(r"""strftime_now\(\s*("[^"]*"|'[^']*')\s*\)""")


class PromptEncoder:
    """Turns prompts and texts into token ids, for generation, scoring and training.

    Args:
        tokenizer: the checkpoint's tokenizer.
        eos_token_ids: the ids at which the model stops.
        name: the model's name, for messages.
        today: the date given to templates that write one (``2024-07-26``).
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
        """Whether conversations can be rendered."""
        return self._template is not None

    @property
    def end_token_id(self) -> int | None:
        """The token that ends texts in training: the tokenizer's end token if the model stops at it, else the smallest
        id at which the model stops."""
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
        """The ids of a prompt. Where they would be empty, they are the tokenizer's start or end token.

        Raises:
            UsageError: a conversation for a model without a chat template, or one that its template refuses.
        """
        ids = self.text_ids(prompt) if isinstance(prompt, str) else self._plain(self._render(prompt))
        return ids or (self._start_id(),)

    def text_ids(self, text: str) -> tuple[int, ...]:
        """The ids of raw text, after a start token where the tokenizer adds one and the text does not begin with it."""
        ids = self._plain(text)
        return ids if ids[: len(self._front)] == self._front else self._front + ids

    def continuation_ids(self, prompt: Prompt, text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ids of a prompt and of a text that follows it.

        They are encoded together where that does not change the prompt's ids, so that a leading space is encoded as the
        model expects. Otherwise a token would span the border, which generation can never produce, and they are encoded
        separately.
        """
        before = self.prompt_ids(prompt)
        together = self.text_ids(prompt + text) if isinstance(prompt, str) else self._plain(self._render(prompt) + text)
        if before == together[: len(before)]:
            return before, together[len(before) :]
        return before, self._plain(text)

    def answered_ids(self, turns: tuple[tuple[str, str], ...], answer: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ids of a conversation, and of its answer with what the template ends it with and the header of the next
        answer.

        Raises:
            UsageError: the template writes the turns before an answer otherwise than those before none.
        """
        before = self.prompt_ids(turns)
        whole = self._plain(self._render((*turns, ("assistant", answer)), next_header=True))
        if whole[: len(before)] != before:
            raise UsageError(f"model {self._name!r}: next_header: its chat template changes a prompt that is answered")
        return before, whole[len(before) :]

    def decode(self, ids: Collection[int]) -> str:
        """The text of generated ids, without special tokens."""
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
        raise UsageError(f"model {self._name!r}: an empty prompt has no tokens, and its tokenizer has no start token")

    def _render(self, turns: tuple[tuple[str, str], ...], *, next_header: bool = False) -> str:
        if self._template is None:
            raise UsageError(
                f"model {self._name!r} has no chat template, so it takes raw text, not a conversation; "
                "use an instruct model, or set chat = false"
            )
        if not turns:
            raise UsageError(f"model {self._name!r}: the conversation has no turns")
        try:
            return self._filled(turns, next_header)
        except Exception as error:  # a template is a program by the model's author, and may raise anything
            if len(turns) > 1 and turns[0][0] == "system" and turns[1][0] == "user":
                # Some templates (Gemma's, Mistral's) have no system turn; its text then opens the user's.
                folded = (("user", f"{turns[0][1]}\n\n{turns[1][1]}"), *turns[2:])
                return self._render(folded, next_header=next_header)
            raise UsageError(f"model {self._name!r}: its chat template refuses these turns: {error}") from error

    def _filled(self, turns: tuple[tuple[str, str], ...], next_header: bool) -> str:
        messages = [{"role": role, "content": text} for role, text in turns]
        return str(
            self.tokenizer.apply_chat_template(
                messages,
                chat_template=self._template,
                tokenize=False,
                add_generation_prompt=next_header or turns[-1][0] != "assistant",
                **self._variables,
            )
        )


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"model hf: today = {text!r} is not a date of the form 2024-07-26") from error
