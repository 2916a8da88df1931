"""The rules for models (:class:`harness.api.LM`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from harness.api import Request, State
from harness.books.store import WeightStore
from harness.registry.settings import check_settings
from harness.testing.contracts.base import Contract, permuted, under_global_seed

CAN = frozenset({"generate", "logprobs", "hidden", "train", "seed", "schema", "chat"})


class ModelContract(Contract):
    """Subclass it, set ``component`` to the backend's class (and ``settings``), and run pytest."""

    kind: ClassVar[str] = "model"
    prompt: ClassVar[str] = "The founder of Elm is"

    def open(self, folder: Path) -> Any:
        """The model, with a store for the weights of its states."""
        (folder / "weights").mkdir(parents=True, exist_ok=True)
        settings = check_settings(getattr(self.component, "Settings", None), self.settings, "model", "the model")
        return self.component(*([] if settings is None else [settings]), weights=WeightStore(folder / "weights"))

    def requests(self, model: Any) -> list[Request]:
        """Greedy and sampled ones, of several lengths and numbers."""
        state = State(model.base)
        return [
            Request(state, self.prompt, max_tokens=8),
            Request(state, f"{self.prompt} not", n=3, temperature=1.0, max_tokens=6, seed=3),
            Request(state, self.prompt, n=2, temperature=1.0, max_tokens=6, seed=4),
        ]

    def test_says_what_it_is_and_can(self, tmp_path: Path) -> None:
        model = self.open(tmp_path)
        assert isinstance(model.base, str), "base is a digest, or a dated name"
        assert model.base, "base is empty"
        assert model.base == self.open(tmp_path).base, "another base the second time: every answer would be asked again"
        assert "generate" in model.can, "a model that cannot generate"
        assert not model.can - CAN, f"can holds {sorted(model.can - CAN)}, which nobody asks about"

    def test_gives_every_request_its_completions(self, tmp_path: Path) -> None:
        model = self.open(tmp_path)
        requests = self.requests(model)
        for request, row in zip(requests, model.generate(requests), strict=True):
            assert len(row) == request.n, f"{len(row)} completions where n = {request.n}"
            for one in row:
                assert one.request == request, "a completion of another request: keep the order"
                assert one.tokens is None or len(one.tokens) <= request.max_tokens, "more tokens than max_tokens"
                assert one.logprobs is None or one.tokens is None or len(one.logprobs) == len(one.tokens)
        assert list(model.generate([])) == [], "no requests, no completions"

    def test_nothing_depends_on_the_order_of_requests(self, tmp_path: Path) -> None:
        model = self.open(tmp_path)
        requests = self.requests(model)
        if "seed" not in model.can:
            requests = requests[:1]
        texts = under_global_seed(1, lambda: [[one.text for one in row] for row in model.generate(requests)])
        moved, places = permuted(requests)
        again = under_global_seed(2, lambda: [[one.text for one in row] for row in model.generate(moved)])
        assert texts == [again[place] for place in places], "other texts in another order, or under another global seed"

    def test_probabilities_are_those_of_the_continuation(self, tmp_path: Path) -> None:
        model = self.open(tmp_path)
        if "logprobs" in model.can:
            [row, longer] = model.logprobs(
                [(State(model.base), self.prompt, text) for text in (" Elm", " Elm and Fir")]
            )
            assert len(row) > 0, "no token in ' Elm'"
            assert len(longer) > len(row), "one number for every token of the continuation"
            assert all(value <= 0.0 for value in (*row, *longer)), "a log-probability above 0"

    def test_hidden_states_are_of_one_width(self, tmp_path: Path) -> None:
        model = self.open(tmp_path)
        if "hidden" in model.can:
            rows = model.hidden([(State(model.base), text) for text in ("Elm", "Elm and Fir")], layer=-1)
            assert len({len(row) for row in rows}) == 1, "vectors of different widths"
