"""The rules for models (:class:`harness.api.LM`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from harness.api import Dropout, Request, State
from harness.books.store import WeightStore
from harness.registry.settings import check_settings
from harness.testing.contracts.base import Contract, permuted, under_global_seed

CAN = frozenset({"generate", "logprobs", "hidden", "dropout", "train", "seed", "schema", "chat"})


class ModelContract(Contract):
    """Subclass it, set ``component`` to the backend's class (and ``settings``), and run pytest."""

    kind: ClassVar[str] = "model"
    prompt: ClassVar[str] = "The founder of Elm is"

    def open(self, folder: Path) -> Any:
        """The model, with a store for the weights of its states."""
        (folder / "weights").mkdir(parents=True, exist_ok=True)
        settings = check_settings(self.component.Settings, self.settings, "model", "the model")
        return self.component(*([] if settings is None else [settings]), weights=WeightStore(folder / "weights"))

    def requests(self, model: Any) -> list[Request]:
        """Greedy and sampled requests with several prompts, lengths and numbers of samples."""
        state = State(model.base)
        return [
            Request(state, self.prompt, max_tokens=8),
            Request(state, f"{self.prompt} not", n=3, temperature=1.0, max_tokens=6, seed=3),
            Request(state, self.prompt, n=2, temperature=1.0, max_tokens=6, seed=4),
        ]

    def test_names_its_base_and_its_abilities(self, tmp_path: Path) -> None:
        model = self.open(tmp_path)
        assert isinstance(model.base, str), "base must be a digest, or a dated name"
        assert model.base, "base is empty"
        assert model.base == self.open(tmp_path).base, "another base the second time: no earlier answer would be reused"
        assert "generate" in model.can, "every model must be able to generate"
        assert not model.can - CAN, f"can holds {sorted(model.can - CAN)}, which nothing in the harness uses"

    def test_gives_every_request_its_completions(self, tmp_path: Path) -> None:
        model = self.open(tmp_path)
        requests = self.requests(model)
        for request, row in zip(requests, model.generate(requests), strict=True):
            assert len(row) == request.n, f"{len(row)} completions where n = {request.n}"
            for one in row:
                assert one.request == request, "a completion of another request: keep the order"
                assert one.tokens is None or len(one.tokens) <= request.max_tokens, "more tokens than max_tokens"
                assert one.logprobs is None or one.tokens is None or len(one.logprobs) == len(one.tokens)
        assert list(model.generate([])) == [], "no requests must give no completions"

    def test_the_order_of_requests_does_not_matter(self, tmp_path: Path) -> None:
        model = self.open(tmp_path)
        requests = self.requests(model)
        if "seed" not in model.can:
            requests = requests[:1]
        texts = under_global_seed(1, lambda: [[one.text for one in row] for row in model.generate(requests)])
        moved, places = permuted(requests)
        again = under_global_seed(2, lambda: [[one.text for one in row] for row in model.generate(moved)])
        assert texts == [again[place] for place in places], "texts depend on the order of requests, or on a global seed"

    def test_probabilities_are_those_of_the_continuation(self, tmp_path: Path) -> None:
        model = self.open(tmp_path)
        if "logprobs" in model.can:
            [row, longer] = model.logprobs(
                [(State(model.base), self.prompt, text) for text in (" Elm", " Elm and Fir")]
            )
            assert len(row) > 0, "no token in ' Elm'"
            assert len(longer) > len(row), "there must be one number for every token of the continuation"
            assert all(value <= 0.0 for value in (*row, *longer)), "a log-probability above 0"

    def test_hidden_states_have_one_width(self, tmp_path: Path) -> None:
        model = self.open(tmp_path)
        if "hidden" in model.can:
            rows = model.hidden([(State(model.base), text) for text in ("Elm", "Elm and Fir")], layer=-1)
            assert len({len(row) for row in rows}) == 1, "vectors of different widths"

    def test_a_dropout_pass_is_named_by_its_seed(self, tmp_path: Path) -> None:
        model = self.open(tmp_path)
        if "dropout" not in model.can:
            return

        def ask(dropout: Dropout | None) -> tuple[Any, ...]:
            state = State(model.base)
            options = {} if dropout is None else {"dropout": dropout}
            probabilities: Any = model.logprobs([(state, self.prompt, " Elm")], **options)
            states: Any = model.hidden([(state, self.prompt)], layer=-1, **options)
            return tuple(probabilities[0]), tuple(states[0])

        plain, once = ask(None), ask(Dropout(0.2, 1))
        assert once == under_global_seed(3, lambda: ask(Dropout(0.2, 1))), "one seed, two networks"
        assert once != plain, "dropout changes nothing"
        assert once != ask(Dropout(0.2, 2)), "two seeds, one network"
        assert ask(None) == plain, "a dropout pass changes later calls"
