"""The tokenizer: a word or a digit a token, blanks without meaning, and text that decodes as it was written."""

from __future__ import annotations

import re

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from harness_lab_maths import world

PAD, EOS, UNKNOWN = "<pad>", "</s>", "<unk>"
_SOLVING, _JUDGING = ("Q", "A", "has", "how", "many", "so"), ("check", "rate", "good", "bad")
_WRITING, _CLAIMING = ("new", "harder", "then", "back", "x"), ("claim", "more", "true", "false")
_NOTING = ("note", "wrong", "right", "none", "rewrite", "with", "to")
_META = ("meta", "or", "best", "one", "two")
_PIECE = r"[A-Za-z]+|[0-9]|[^\sA-Za-z0-9]"


def vocabulary() -> list[str]:
    """Tokens in the order of their ids."""
    story = [*world.NAMES, *world.THINGS, *world.SIGNS, *world.STYLES]
    asked = [*_SOLVING, *_JUDGING, *_WRITING, *_CLAIMING, *_NOTING, *_META]
    return [PAD, EOS, UNKNOWN, *"0123456789+-=.,?:", *story, *asked]


def build() -> PreTrainedTokenizerFast:
    """The tokenizer; `save_pretrained` writes files that `AutoTokenizer` loads."""
    ids = {token: i for i, token in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(_PIECE), "isolated")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="##", cleanup=False),
            decoders.Fuse(),
            decoders.Replace(Regex(r"(?<=[0-9+=-]) (?=[0-9+=-])"), ""),
            decoders.Replace(Regex(r" (?=[.,:?])"), ""),
        ]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token=EOS,
        pad_token=PAD,
        unk_token=UNKNOWN,
        padding_side="left",
        model_max_length=512,
    )


class Encoder:
    """The tokenizer's ids, faster."""

    def __init__(self) -> None:
        self._ids = {token: i for i, token in enumerate(vocabulary())}
        self._unknown = self._ids[UNKNOWN]
        self._pieces = re.compile(_PIECE)
        self.eos = self._ids[EOS]

    def __call__(self, text: str) -> list[int]:
        return [self._ids.get(piece, self._unknown) for piece in self._pieces.findall(text)]
