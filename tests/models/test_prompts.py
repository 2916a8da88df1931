"""Prompts as token ids: chat templates, pinned dates, start tokens, and the boundary of a continuation."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.api import HarnessError
from harness.models.prompts import PromptEncoder
from tests.models import tiny

BASE = tiny.tokenizer(bos=False, end="</s>", template=tiny.CHAT)
LLAMA = tiny.tokenizer(bos=True, end="</s>", template=None)


def encoder(tokenizer: Any = BASE, *, today: str = "2024-07-26", ends: tuple[int, ...] = (2,)) -> PromptEncoder:
    return PromptEncoder(tokenizer, ends, "m", today=today, thinking=False)


def test_raw_text_is_taken_as_it_is() -> None:
    assert encoder().prompt_ids("Ada Marsh") == tuple(BASE("Ada Marsh")["input_ids"])
    assert encoder(LLAMA).prompt_ids("Ada Marsh") == tuple(LLAMA("Ada Marsh")["input_ids"])
    assert encoder(LLAMA).prompt_ids("Ada Marsh")[0] == 1


def test_a_start_token_is_never_doubled() -> None:
    assert encoder(LLAMA).prompt_ids("<s>Ada") == encoder(LLAMA).prompt_ids("Ada")


def test_an_empty_prompt_is_a_start_token() -> None:
    assert encoder(LLAMA).prompt_ids("") == (1,)
    assert len(encoder().prompt_ids("")) == 1


def test_turns_go_through_the_template() -> None:
    ids = encoder().prompt_ids((("system", "Be brief."), ("user", "Who?")))
    text = BASE.decode(ids)
    assert text == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n"
    assert ids.count(BASE.convert_tokens_to_ids("<|im_start|>")) == 3
    with pytest.raises(HarnessError, match="no chat template"):
        encoder(LLAMA).prompt_ids((("user", "Who?"),))


NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
)


def test_a_template_without_a_system_turn_gets_its_text_in_the_users() -> None:
    tokenizer = tiny.tokenizer(bos=False, end="</s>", template=NO_SYSTEM)
    ids = encoder(tokenizer).prompt_ids((("system", "Be brief."), ("user", "Who?"), ("assistant", "Ada")))
    assert tokenizer.decode(ids) == "[user]Be brief.\n\nWho?[assistant]Ada"
    with pytest.raises(HarnessError, match="refuses these turns: System role not supported"):
        encoder(tokenizer).prompt_ids((("system", "Be brief."),))


@pytest.mark.parametrize(
    "template",
    [
        "{{ strftime_now('%d %b %Y') }}{% for m in messages %}{{ m.content }}{% endfor %}",
        '{%- if not date_string is defined %}{% set date_string = strftime_now("%d %b %Y") %}{% endif %}'
        "{{ date_string }}{% for m in messages %}{{ m.content }}{% endfor %}",
    ],
)
def test_templates_that_write_a_date_get_a_pinned_one(template: str) -> None:
    tokenizer = tiny.tokenizer(bos=False, end="</s>", template=template)
    ids = encoder(tokenizer, today="2025-02-01").prompt_ids((("user", "x"),))
    assert tokenizer.decode(ids) == "01 Feb 2025x"


def test_a_template_that_refuses_is_one_line() -> None:
    tokenizer = tiny.tokenizer(bos=False, end="</s>", template="{{ raise_exception('no system turns') }}")
    with pytest.raises(HarnessError, match="refuses these turns: no system turns"):
        encoder(tokenizer).prompt_ids((("system", "x"),))


def test_instruct_models_stop_where_a_turn_ends() -> None:
    assert not encoder(ends=(2,)).is_instruct()
    assert encoder(ends=(2, BASE.convert_tokens_to_ids("<|im_end|>"))).is_instruct()
    assert not encoder(LLAMA).is_instruct()


@settings(deadline=None)
@given(prompt=st.text(max_size=20), text=st.text(min_size=1, max_size=20))
def test_a_continuation_follows_the_very_ids_of_its_prompt(prompt: str, text: str) -> None:
    for prompts in (encoder(), encoder(LLAMA)):
        before, after = prompts.continuation_ids(prompt, text)
        assert before == prompts.prompt_ids(prompt)
        plain = prompts.tokenizer.decode(after, clean_up_tokenization_spaces=False)
        assert plain == prompts.tokenizer.decode(
            prompts.tokenizer(text, add_special_tokens=False)["input_ids"], clean_up_tokenization_spaces=False
        )


def test_continuations_of_turns() -> None:
    turns = (("user", "Who?"),)
    before, after = encoder().continuation_ids(turns, "Ada Marsh")
    assert before == encoder().prompt_ids(turns)
    assert BASE.decode(after) == "Ada Marsh"


def test_an_answer_with_the_header_of_the_next_one() -> None:
    turns = (("user", "Who?"),)
    before, after = encoder().answered_ids(turns, "Ada Marsh")
    assert before == encoder().prompt_ids(turns)
    assert BASE.decode(after) == "Ada Marsh<|im_end|>\n<|im_start|>assistant\n"
    without_header = tiny.tokenizer(
        bos=False, end="</s>", template="{% for m in messages %}{{ m.content }}{% endfor %}!"
    )
    with pytest.raises(HarnessError, match="next_header"):
        encoder(without_header).answered_ids(turns, "Ada Marsh")
