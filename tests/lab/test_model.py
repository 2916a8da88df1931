"""The packaged model: it loads offline, is the recorded one, and answers as recorded."""

import json
import random
import socket
from pathlib import Path

import pytest
from harness_lab.lab_model import LabModel, folder
from harness_lab.pretraining.mix import DOCUMENTS, EOS, MixWriter, residents
from harness_lab.pretraining.tokenizer import CachedEncoder, build
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from harness.api import Request, State
from harness.models.checkpoint import find_checkpoint
from harness.models.hf_settings import HfSettings
from tests.lab.fakes import NoAdapters

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text("utf-8"))
"""Written by ``python -m tests.lab.record`` when the model was frozen."""


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(folder(), local_files_only=True)


@pytest.fixture(scope="module")
def model() -> LabModel:
    return LabModel(HfSettings(device="cpu"), NoAdapters())


def test_it_is_the_recorded_model() -> None:
    assert find_checkpoint(str(folder())).digest() == RECORDED["digest"]
    assert sum(path.stat().st_size for path in folder().iterdir()) < 16_000_000


def test_it_answers_as_recorded_without_a_network(model: LabModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    asked = [Request(State(model.base), one["prompt"], max_tokens=48) for one in RECORDED["answers"]]
    found = [one.text for (one,) in model.generate(asked)]
    assert found == [one["answer"] for one in RECORDED["answers"]]
    assert len(found) == 10


def test_it_has_room_for_512_positions(model: LabModel) -> None:
    assert model.positions >= 512


def test_the_packaged_tokenizer_is_what_the_code_builds(tokenizer: PreTrainedTokenizerFast) -> None:
    assert build().get_vocab() == tokenizer.get_vocab()


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="▁\r"), min_size=1, max_size=60))
def test_any_text_can_be_encoded_and_comes_back(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    words = " ".join(text.split())
    ids = tokenizer.encode(words, add_special_tokens=False)
    assert tokenizer.decode(ids) == words


def test_documents_are_encoded_alike_with_and_without_the_cache(tokenizer: PreTrainedTokenizerFast) -> None:
    encode, writer = CachedEncoder(tokenizer), MixWriter(random.Random(5), residents(23))
    for kind in [*DOCUMENTS, "drill"]:
        text = "".join(part for part, _ in writer.kinds[kind]() if part != EOS)
        assert encode(text) == tokenizer.encode(text, add_special_tokens=False)


def test_a_name_has_the_same_tokens_wherever_it_stands(tokenizer: PreTrainedTokenizerFast) -> None:
    name = tokenizer.encode("Kelvale", add_special_tokens=False)
    assert len(name) == 2
    for text in ("in Kelvale", "\nKelvale", "Answer:\nKelvale"):
        assert tokenizer.encode(text, add_special_tokens=False)[-2:] == name


def test_grid_cells_are_single_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(tokenizer.encode("1 2 3\n4 5 6", add_special_tokens=False)) == 7
