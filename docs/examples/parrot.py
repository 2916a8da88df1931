"""A model backend that repeats the prompt's last line. It can generate and nothing else."""

from harness import hookimpl
from harness.api import Completion, Model


@hookimpl
def harness_models():
    return {"parrot": "parrot:Parrot"}


class Parrot(Model):
    base = "parrot:1"
    can = frozenset({"generate", "seed"})

    def __init__(self, weights):
        pass

    def generate(self, asks):
        return [[Completion(ask, self._say(ask))] * ask.n for ask in asks]

    def _say(self, ask):
        text = ask.prompt if isinstance(ask.prompt, str) else ask.prompt[-1][1]
        return " ".join(text.strip().split("\n")[-1].split()[: ask.max_tokens])
