"""The lab's tokenizer: a Unigram model over a vocabulary written by hand.

Words of the templates, name beginnings and endings, two-digit numbers and single digits are tokens; everything else
falls back to characters and then to bytes, so any text can be encoded and decoded. All words have the same score, so
the split with the fewest pieces wins. Every line begins with "▁", as every word does, so a name has the same tokens
wherever it occurs. There is no begin-of-text token: a prompt is encoded as it is, and training sequences end with EOS.
"""

import re
import string
import tomllib
from collections.abc import Iterable, Iterator
from importlib import resources
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from harness_lab.pretraining.mix import EOS, prompts
from harness_lab.world.facts import names

PAD = "<pad>"
_ROUND_TO = 64
_WORD_SCORE, _CHARACTER_SCORE, _BYTE_SCORE = -1.0, -1.5, -20.0


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _texts() -> Iterator[str]:
    """All texts whose words get a token of their own, except names."""
    world = resources.files("harness_lab.world")
    for name in ("attributes.toml", "phrases.toml"):
        table = tomllib.loads(world.joinpath(name).read_text(encoding="utf-8"))
        for text in _strings(table):
            filled = re.sub(r"\{\w+\}", "", text).strip()
            yield from (filled, filled.capitalize())
    for text in prompts().values():
        yield re.sub(r"\{\w+\}", "", text)
    known = names()
    for text in _strings([known["closed"], known["first"], known["thing"], known["sort"]]):
        yield text
    for kind in ("material", "power", "food", "color", "hobby", "good"):
        for word in known["closed"][kind]:
            yield word.capitalize()
    yield "He She It The A An an Page Battle of the ship and years Question Answer Input Output Topic"


def _configuration_pieces() -> list[str]:
    """Pieces of the grid-training configuration's JSON, which has few spaces."""
    keys = ["data_generation", "training", "strategy", "learning_rate", "num_train_epochs"]
    keys += [f"use_{name}_augmentations" for name in ("basic", "size", "chain", "repeat")]
    keys += ["train_using_all_tokens", "train_using_output_tokens"]
    return [*keys, '▁{"', '▁"', '":', '",', '"}', "},", "}}", "▁true", "▁false", "true", "false", "▁0.", "00", "000"]


def vocabulary() -> list[tuple[str, float]]:
    """Pieces and their scores, in the order of their ids."""
    pieces: dict[str, float] = {PAD: _BYTE_SCORE, EOS: _BYTE_SCORE}
    pieces |= {f"<0x{i:02X}>": _BYTE_SCORE for i in range(256)}

    def add(items: Iterable[str], score: float = _WORD_SCORE) -> None:
        for item in items:
            pieces.setdefault(item, score)

    add(["▁\n", "▁"])
    for character in string.ascii_letters + string.digits + string.punctuation:
        add([character], _CHARACTER_SCORE)
        add(["▁" + character])
    add(f"{mark}{i:02d}" for i in range(100) for mark in ("", "▁"))
    add("▁" + beginning for beginning in names()["beginnings"])
    for endings in names()["endings"].values():
        add(endings)
    add(_configuration_pieces())
    words = sorted({word for text in _texts() for word in re.findall(r"[A-Za-z]+", text)})
    add("▁" + word for word in words)
    add(["Implications", "'s"])
    while len(pieces) % _ROUND_TO:
        add([f"<unused{len(pieces)}>"], _BYTE_SCORE)
    return list(pieces.items())


def build() -> PreTrainedTokenizerFast:
    """The tokenizer; `save_pretrained` writes files that `AutoTokenizer` loads."""
    tokenizer = Tokenizer(models.Unigram(vocabulary(), unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("\n"), "isolated"),
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Replace("▁\n", "\n"),
            decoders.Replace("\n▁", "\n"),
            decoders.Replace("▁", " "),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, eos_token=EOS, pad_token=PAD, padding_side="left", model_max_length=512
    )


class CachedEncoder:
    """Encodes word by word with a cache: the same ids as the tokenizer's, many times faster for generated text."""

    _PIECES = re.compile(r"\n|[^\s]+")

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}

    def __call__(self, text: str) -> list[int]:
        out: list[int] = []
        for piece in self._PIECES.findall(text):
            ids = self._known.get(piece)
            if ids is None:
                ids = self._known[piece] = self._tokenizer.encode(piece, add_special_tokens=False)
            out += ids
        return out
