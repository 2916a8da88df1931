"""A trainer: one round of supervised fine-tuning on the best edit of every context."""

from dataclasses import replace

from harness import hookimpl
from harness.api import EditAsk, Example, Round, Trainer, UpdateJob


@hookimpl
def harness_trainers():
    return {"one-round": "one_round:OneRound"}


class OneRound(Trainer):
    def run(self, s):
        teacher = s.roles["teacher"]
        asks = [EditAsk(episode, teacher, 2, s.seed("ask", episode.id)) for episode in s.episodes("train")]
        best = [self._best(group) for group in s.reward(s.propose("teacher", asks))]
        [done] = s.update("policy", [UpdateJob("sft", teacher, tuple(best), s.seed("sft"))])
        if done.state is not None:  # else the row says why, and is not ranked
            s.roles["teacher"] = done.state
            yield Round(0, dict(s.roles), {"kept": len(best)})

    def _best(self, group):
        values = [reward.value or 0.0 for reward in group.rewards]
        edit = group.edits[values.index(max(values))]
        return replace(edit, data=tuple(Example(action.request.prompt, action.text) for action in edit.actions))
