"""A task about two towns: one to learn from and one to be tested on."""

from harness import hookimpl
from harness.api import EditFailed, Episode, Example, Query, Task

TOWNS = {"train": ("Elm", "Ada Hart"), "test": ("Oak", "Una Berg")}


@hookimpl
def harness_tasks():
    return {"two-towns": "two_towns:TwoTowns"}


class TwoTowns(Task):
    name, version, metric = "two-towns", "1", "exact"

    def load(self, split):
        if split not in TOWNS:
            return []
        town, founder = TOWNS[split]
        query = Query(f"{town}-founder", f"Who founded {town}?")
        context = {"title": town, "text": f"{town} was founded by {founder}."}
        return [(Episode(town, split, context, (query,)), {query.id: [founder]})]

    def prompt(self, query, memory, *, chat):
        return f"Question: {query.text}\nAnswer:"

    def expand(self, recipe, episode, seed):
        text = episode.context["text"] if recipe.name == "passage" else str(recipe.args.get("text", ""))
        if recipe.name not in ("passage", "lines") or not text.strip():
            raise EditFailed(f"the recipe {recipe.name!r} makes nothing to learn")
        return [Example("", text)]

    def extract(self, query, answer):
        return answer.strip() or None

    def same(self, query, a, b):
        return a.lower() == b.lower()
