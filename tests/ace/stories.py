"""A model of counting stories that follows its registers perfectly: what the method makes of a model that can."""

from __future__ import annotations

import random

from harness_lab_maths import world

from harness.api import Request


def answer(request: Request, n: int) -> str:
    """Solves as the corpus does, notes and all; reflects on one hard verb; rewrites lists, and forgets a note now and
    then, as models do."""
    prompt = str(request.prompt)
    rng = random.Random(f"{request.seed}/{n}/{prompt}")
    if prompt.startswith(("right Q", "wrong Q")):
        return _reflected(prompt, rng)
    if prompt.startswith("rewrite"):
        before, _, new = prompt.removesuffix("to").partition("with")
        merged = world.merge(world.notes_in(before), world.notes_in(new))
        return " ".join(f"note {one}" for one in merged if rng.random() < 0.95)
    told, _, text = prompt.partition("Q ")
    problem = world.parse(text.removesuffix(" A"))
    assert problem is not None, prompt
    return world.write(problem, rng, notes=world.notes_in(told))


def _reflected(prompt: str, rng: random.Random) -> str:
    said, _, rest = prompt.partition(" Q ")
    text, _, chain = rest.removesuffix(" note").partition(" A ")
    problem = world.parse(text)
    assert problem is not None, prompt
    signs = world.reading_of(problem, chain)
    hard = [(verb, place) for place, (verb, _) in enumerate(problem.events) if verb in world.HARD]
    if signs is None or not hard:
        return world.NO_NOTE
    verb, place = rng.choice(hard)
    sign = signs[place] if said == "right" else "-+"[signs[place] == "-"]
    return world.note(verb, sign, rng)
