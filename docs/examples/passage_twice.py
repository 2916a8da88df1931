"""An editor: learn the passage, and the passage in capitals."""

from harness import hookimpl
from harness.api import Editor, Example, SelfEdit


@hookimpl
def harness_editors():
    return {"passage-twice": "passage_twice:PassageTwice"}


class PassageTwice(Editor):
    def propose(self, asks, s):
        return [[self._edit(ask.episode)] for ask in asks]

    def _edit(self, episode):
        text = episode.context["text"]
        return SelfEdit(f"{episode.id}/0", episode.id, (Example("", text), Example("", text.upper())))
