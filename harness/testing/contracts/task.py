"""The rules for tasks (:class:`harness.api.Task`)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

from harness.api import EditFailed, Episode, HarnessError, Query, Recipe, References, Split
from harness.testing.contracts.base import Contract, same, survives_json, under_global_seed

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_LIMIT = 50
"""How many episodes of a split, and how many answers, are checked at most."""


class TaskContract(Contract):
    """Subclass it, set ``component`` to the task's class (and ``settings``, where it needs data), and run pytest."""

    kind: ClassVar[str] = "task"
    recipes: ClassVar[tuple[Recipe, ...]] = (Recipe("passage"), Recipe("lines", {"text": "One line.\nAnother line."}))
    """Recipes that must make training data from every training episode."""

    def test_has_a_name_version_and_metric(self) -> None:
        task = self.make()
        for name in ("name", "version", "metric"):
            value = getattr(task, name, None)
            assert isinstance(value, str), f"{name} must be a string, not {value!r}"
            assert value, f"{name} must not be empty: it is one of every row's conditions"

    def test_loads_its_splits_in_a_fixed_order(self) -> None:
        once = under_global_seed(1, lambda: {split: [e.id for e, _ in self.make().load(split)] for split in SPLITS})
        again = under_global_seed(2, lambda: {split: [e.id for e, _ in self.make().load(split)] for split in SPLITS})
        same(once, again, "other items, or another order, the second time")
        assert once["test"], "the test split is empty"
        ids = [identifier for split in SPLITS for identifier in once[split]]
        twice = sorted({identifier for identifier in ids if ids.count(identifier) > 1}) if len(ids) < 5000 else []
        assert not twice, f"episode {twice[0]!r} occurs twice, in one split or in two"

    def test_every_query_has_references_and_an_id_of_its_own(self) -> None:
        seen: set[str] = set()
        for episode, references in self._items():
            assert episode.queries, f"episode {episode.id!r} has no queries"
            for query in episode.queries:
                assert query.id not in seen, f"query {query.id!r} occurs twice"
                seen.add(query.id)
                assert references.get(query.id), f"query {query.id!r} has no references"

    def test_episodes_name_their_split_and_survive_the_journal(self) -> None:
        task = self.make()
        for split in SPLITS:
            for episode, _ in task.load(split)[:_LIMIT]:
                assert episode.split == split, f"episode {episode.id!r} of {split} names the split {episode.split!r}"
                assert episode.context, f"episode {episode.id!r} has nothing that a method may see"
                survives_json(episode, f"episode {episode.id!r}")
        assert list(task.load("made")) == [], "the split 'made' is for episodes that methods make"

    def test_prompts_hold_the_question_and_no_reference(self) -> None:
        task = self.make()
        for episode, _ in self._items():
            for query in episode.queries:
                base, chat = task.prompt(query, {}, chat=False), task.prompt(query, {}, chat=True)
                assert isinstance(base, str), f"query {query.id!r}: the prompt for a base model must be a string"
                assert base.strip(), f"query {query.id!r}: an empty prompt"
                assert isinstance(chat, str) or all(len(turn) == 2 for turn in chat), (
                    f"query {query.id!r}: the prompt for a chat model must be a string or (role, text) pairs"
                )
                assert base == task.prompt(query, {}, chat=False), f"query {query.id!r}: another prompt the second time"

    def test_a_reference_is_an_answer_and_means_the_same_as_itself(self) -> None:
        task = self.make()
        for query, reference in self._answers():
            answer = task.extract(query, reference)
            assert answer is not None, f"query {query.id!r}: its own reference {reference!r} cannot be parsed"
            assert task.same(query, answer, reference), f"query {query.id!r}: same() tells {reference!r} from itself"

    def test_sameness_is_symmetric_and_not_universal(self) -> None:
        task = self.make()
        asked = list(self._answers())
        for (query, one), (_, other) in pairwise(asked):
            assert task.same(query, one, other) == task.same(query, other, one), f"{one!r} and {other!r}: not symmetric"
        assert len(asked) < 2 or not all(task.same(q, a, b) for q, a in asked for _, b in asked), (
            "same() holds for all pairs of answers"
        )

    def test_an_empty_text_is_no_answer_or_a_wrong_one(self) -> None:
        task = self.make()
        for query, reference in self._answers():
            empty = task.extract(query, "")
            assert empty is None or not task.same(query, empty, reference), "an empty text counts as the right answer"

    def test_recipes_expand_the_same_way_every_time(self) -> None:
        task = self.make()
        for episode, _ in task.load("train")[:3]:
            for recipe in self.recipes:
                once = under_global_seed(1, partial(task.expand, recipe, episode, 7))
                again = under_global_seed(2, partial(task.expand, recipe, episode, 7))
                same(list(once), list(again), f"recipe {recipe.name!r} expands differently under one seed")
                assert once, f"recipe {recipe.name!r} makes no sequence from episode {episode.id!r}"
                assert all(example.target.strip() for example in once), f"recipe {recipe.name!r} makes an empty target"

    def test_unknown_recipes_and_empty_texts_are_refused(self) -> None:
        task = self.make()
        [(episode, _), *_] = task.load("train")
        for recipe in (
            Recipe("no such recipe"),
            *(Recipe(r.name, {**r.args, "text": ""}) for r in self.recipes if "text" in r.args),
        ):
            self._refuses(task, recipe, episode)

    # --- how ---

    def _items(self) -> Iterator[tuple[Episode, References]]:
        task = self.make()
        for split in SPLITS:
            yield from task.load(split)[:_LIMIT]

    def _answers(self) -> Iterator[tuple[Query, str]]:
        count = 0
        for episode, references in self._items():
            for query in episode.queries:
                for reference in references[query.id]:
                    count += 1
                    if count <= _LIMIT:
                        yield query, reference

    def _refuses(self, task: Any, recipe: Recipe, episode: Episode) -> None:
        try:
            made = task.expand(recipe, episode, 0)
        except (EditFailed, HarnessError):
            return
        except Exception as error:
            raise AssertionError(
                f"recipe {recipe.name!r} with {dict(recipe.args)!r} raised {type(error).__name__}: {error}; "
                "raise EditFailed, so that the edit is failed and the run goes on"
            ) from error
        raise AssertionError(f"recipe {recipe.name!r} with {dict(recipe.args)!r} was expanded to {len(made)} sequences")
