"""A model made of two backends with the same weights: one answers, the other trains. `--set` names both:

harness run --plugin ./two_engines.py --set 'model={use="two-engines", answers="lab", trains="lab"}'
"""

from harness import hookimpl
from harness.api import Model


@hookimpl
def harness_models():
    return {"two-engines": "two_engines:TwoEngines"}


class TwoEngines(Model):
    nested = {"answers": "model", "trains": "model"}

    def __init__(self, answers, trains, weights):
        self.answers, self.trains = answers, trains
        self.base, self.chunk = trains.base, answers.chunk
        self.name = f"{answers.name or answers.base} + {trains.name or trains.base}"
        self.can = (answers.can - {"train", "dropout"}) | (trains.can & {"train"})
        self.identity = {"answers": {"base": answers.base, **answers.identity}, "trains": dict(trains.identity)}

    def generate(self, asks):
        return self.answers.generate(asks)

    def logprobs(self, asks):
        return self.answers.logprobs(asks)

    def hidden(self, asks, *, layer, pool="mean"):
        return self.answers.hidden(asks, layer=layer, pool=pool)

    def train(self, items, loss="sft"):
        return self.trains.train(items, loss)

    def borrow(self, state):
        return self.trains.borrow(state)

    def over_long(self, data, max_length):
        return self.trains.over_long(data, max_length)
