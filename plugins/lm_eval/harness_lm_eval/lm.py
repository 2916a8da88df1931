"""The other way round: a run's policy as a model of lm-eval's command line."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lm_eval.api.model import LM

from harness.api import State
from harness.errors import UsageError
from harness.runs.export import open_policy
from harness_lm_eval.requests import conversation, generation, pair


class HarnessLM(LM):  # type: ignore[misc]  # lm-eval has no types
    """``--model harness --model_args run=RUN,method=seal,seed=0``: the policy that a row of the run tested.

    ``base=True`` takes the model without the policy's adapters, for comparison.
    """

    def __init__(
        self, run: str = "", method: str = "", seed: int | None = None, base: bool = False, **of_lm_eval: Any
    ) -> None:
        """
        Raises:
            UsageError: there is no such run or finished row, or an argument is unknown.
        """
        super().__init__()
        unknown = of_lm_eval.keys() - {"batch_size", "max_batch_size", "device"}
        if not run or unknown:
            what = f"has no argument {min(unknown)!r}" if unknown else "needs the run's folder"
            raise UsageError(
                f"lm-eval: model harness {what}; write --model_args run=FOLDER,method=NAME,seed=N,base=True"
            )
        self._model, state, self.where = open_policy(Path(run), method, seed)
        self._state = State(state.base) if base else state

    @property
    def tokenizer_name(self) -> str:
        return str(self._model.name)

    def apply_chat_template(self, chat_history: Any, add_generation_prompt: bool = True) -> str:
        """The conversation, for the model's own template (``lm_eval --apply_chat_template``)."""
        return conversation(chat_history, add_generation_prompt)

    def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        found = self._model.likelihoods([(self._state, *pair(one.args)) for one in requests])
        if any(one.greedy is None for one in found):
            raise UsageError(
                f"model {self._model.name} does not say whether a continuation is greedy, which lm-eval asks"
            )
        return [(math.fsum(one.logprobs), bool(one.greedy)) for one in found]

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        found = self._model.likelihoods([(self._state, *pair(one.args)) for one in requests])
        return [math.fsum(one.logprobs) for one in found]

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        asks = [generation(one.args, self._state, seed=place) for place, one in enumerate(requests)]
        out = []
        for [completion] in self._model.generate(asks):
            if completion.finish in ("failed", "error"):
                raise UsageError(f"model {self._model.name}: no answer to a request: {completion.reason}")
            out.append(completion.text)
        return out
