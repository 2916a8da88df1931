"""The basic ordering, on few pages: what an update teaches depends on the text, and on which page it is about."""

import random
from statistics import fmean

import pytest
from harness_lab.bench import Bench, lines
from harness_lab.world.facts import World
from harness_lab.world.squad import asked_pages


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


def test_plain_statements_teach_more_than_the_page_and_another_pages_teach_nothing(bench: Bench) -> None:
    pages = asked_pages("validation", 8, 9)
    world = World(random.Random(9))
    stated = [[world.statement(fact) for fact in one.page.facts] for one in pages]
    none = fmean(bench.accuracy(pages, [bench.base] * 8))
    reading = fmean(bench.accuracy(pages, [bench.base] * 8, open_book=True))
    passage = fmean(bench.learnt(pages, [[one.page.text] for one in pages]))
    told = fmean(bench.learnt(pages, stated))
    others = fmean(bench.learnt(pages, [*stated[1:], stated[0]]))
    assert none < 0.1
    assert others < 0.1
    assert passage + 0.3 < told
    assert told > 0.9
    assert reading > 0.9


def test_its_own_edits_teach_more_than_the_page(bench: Bench) -> None:
    pages = asked_pages("validation", 12, 9)
    edits = bench.edits(pages, "self-qa", seed=9)
    passage = fmean(bench.learnt(pages, [[one.page.text] for one in pages]))
    written = fmean(bench.learnt(pages, [lines(one, edit) for one, (edit,) in zip(pages, edits, strict=True)]))
    assert passage + 0.1 < written
