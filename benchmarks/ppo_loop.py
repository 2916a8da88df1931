"""PPO with a value head as a plugin of one file, so that it runs in the same table as the other loops.

    harness run --plugin benchmarks/ppo_loop.py
    python benchmarks/loops.py --loops restem grpo ppo ppo-cross-fitted --rewards "probability 5x1" --out loops

Schulman et al. 2017 (arXiv 1707.06347): generalised advantage estimation (arXiv 1506.02438, eq. 16) with gamma = 1, the
clipped ratio of every token (eq. 7), and a value head beside the policy whose error is clipped too, as in OpenAI's and
TRL's implementations. An edit's reward comes at its last token. The head is linear, on the hidden states of the frozen
base model, of which no gradient reaches the policy. It is not in the plugin because it earns no place: the README of
`plugins/outer_loops` has the figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from harness_outer_loops.loops import PolicyLoop, _rollout
from harness_outer_loops.methods import SEAL_GRPO
from torch import Tensor

from harness import hookimpl
from harness.api import Group, Rollout, SelfEdit, Session, State, Updated, UpdateJob, Updater
from harness.updaters.lora import AdapterSettings, blamed, job_settings

RIDGE = 1e2


@hookimpl
def harness_methods() -> Mapping[str, Any]:
    return {name: method(name, fit) for name, fit in (("seal-ppo", "trained"), ("seal-ppo-cross-fitted", "ridge"))}


@hookimpl
def harness_trainers() -> Mapping[str, Any]:
    return {"ppo": PpoLoop}


@hookimpl
def harness_updaters() -> Mapping[str, Any]:
    return {"ppo": Ppo}


def method(name: str, value_fit: str) -> Any:
    """`seal-grpo` with the trainer and the updater of this file, and everything else alike."""
    components = {slot: dict(table) for slot, table in SEAL_GRPO.components.items()}
    components["trainer"]["inner"] = {"use": "ppo"}
    components["policy"] |= {"use": "ppo", "value_fit": value_fit}
    del components["policy"]["loss"]
    return replace(SEAL_GRPO, name=name, paper="arXiv 1707.06347", components=components)


class PpoLoop(PolicyLoop):
    """Hands every edit to the updater with its reward where the other loops put its advantage."""

    name = "ppo"

    def learnt(self, groups: Sequence[Group], start: State, s: Session, /) -> tuple[list[SelfEdit], dict[str, Any]]:
        found = [
            rolled
            for group in groups
            for edit, reward in zip(group.edits, group.rewards, strict=True)
            if reward.value is not None and (rolled := _rollout(edit, reward.value)) is not None
        ]
        return found, {"learnt": len(found)}


@dataclass(frozen=True)
class PpoSettings(AdapterSettings):
    """A LoRA fine-tune of the policy, and the value head."""

    clip_ratio: float = 0.2
    gae: float = 1.0
    """Lambda of generalised advantage estimation."""
    whiten: bool = True
    """Whether advantages are centred and divided by their deviation over all tokens of the batch."""
    value_fit: Literal["trained", "ridge"] = "trained"
    """``trained``: the head begins at 0, gives the values of a round before it has seen the round's rewards, and is
    trained beside the policy, round after round. ``ridge``: the values of a context come from a ridge regression on the
    round's other contexts, which is kinder than any PPO."""
    value_rate: float = 1e-2
    value_epochs: int = 40
    value_batch: int = 40
    """Edits per step of the head."""
    value_clip: float = 0.2


class Ppo(Updater):
    """One job at a time: values, advantages, and the policy's update by the clipped ratio."""

    Settings: ClassVar[type] = PpoSettings
    accepts = frozenset({Rollout})
    continues = True

    def __init__(self, settings: PpoSettings) -> None:
        self._settings = settings

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        own = self._settings
        for job in jobs:
            rollouts = [item for edit in job.edits for item in edit.data if isinstance(item, Rollout)]
            with s.borrow(State(job.start.base)) as (module, tokenizer):
                states = [hidden(module, tokenizer, one) for one in rollouts]
            rewards = [one.advantage for one in rollouts]
            number = int(job.id.removeprefix("round-"))
            if own.value_fit == "ridge":
                values = cross_fitted(states, rewards, [one.group for one in rollouts])
            else:
                head = torch.tensor((s.keep(f"head-{number - 1}") or {}).get("head", [0.0] * states[0].shape[1]))
                values = [one @ head for one in states]
                head = trained(head, states, values, rewards, own, job.seed)
                s.keep(f"head-{number}", {"head": head.tolist()})
            rows = [gae(value, reward, own.gae) for value, reward in zip(values, rewards, strict=True)]
            if own.whiten:
                flat = torch.cat(rows)
                rows = [(row - flat.mean()) / (flat.std() + 1e-8) for row in rows]
            # A rollout has room for one number: it is the place of its advantages, of which every token has one.
            places = iter(range(len(rollouts)))
            edits = [
                replace(edit, data=tuple(replace(one, advantage=float(next(places))) for one in edit.data))  # type: ignore[type-var]
                for edit in job.edits
            ]
            settings, chosen = job_settings(own, job)
            for updated in s.fit([replace(job, edits=tuple(edits), settings=settings)], loss=Clipped(rows, own)):
                yield blamed(updated, chosen)


def hidden(module: Any, tokenizer: Any, rollout: Rollout) -> Tensor:
    """`[tokens, width + 1]`: what a linear head sees before it knows token t, with a 1 for its bias."""
    prompt, written = rollout.action.request.prompt, rollout.action.tokens or ()
    before = tokenizer(prompt)["input_ids"]
    with torch.no_grad():
        found = module(torch.tensor([[*before, *written]]), output_hidden_states=True).hidden_states[-1][0]
    mine = found[len(before) - 1 : -1].float()
    return torch.cat([mine, torch.ones(len(mine), 1)], dim=1)


def gae(values: Tensor, reward: float, lam: float) -> Tensor:
    """Advantages `[tokens]` of one edit whose reward comes after its last token; gamma is 1.

    delta_t = r_t + V(t + 1) - V(t), A_t = delta_t + lambda A_(t + 1).
    """
    delta = torch.cat([values[1:], torch.tensor([reward])]) - values
    out = torch.zeros_like(delta)
    running = 0.0
    for t in reversed(range(len(delta))):
        running = out[t] = delta[t] + lam * running
    return out


def ridge(x: Tensor, y: Tensor, penalty: float = RIDGE) -> Tensor:
    """The weights of a ridge regression whose last feature is a constant, which is not penalised."""
    x, y = x.double(), y.double()
    held = penalty * torch.eye(x.shape[1], dtype=torch.float64)
    held[-1, -1] = 0
    return torch.linalg.solve(x.T @ x + held, x.T @ y).float()


def cross_fitted(states: Sequence[Tensor], rewards: Sequence[float], groups: Sequence[str]) -> list[Tensor]:
    """Values of every token, by a head that was fitted to the other contexts; an edit counts once, however long."""
    out: list[Tensor] = [torch.empty(0)] * len(states)
    for name in dict.fromkeys(groups):
        others = [i for i, group in enumerate(groups) if group != name]
        root = [len(states[i]) ** -0.5 for i in others]
        x = torch.cat([states[i] * r for i, r in zip(others, root, strict=True)])
        y = torch.cat([torch.full((len(states[i]),), rewards[i] * r) for i, r in zip(others, root, strict=True)])
        # The constant is weighted too, so that the fit is the weighted one.
        head = ridge(x, y)
        for i, group in enumerate(groups):
            if group == name:
                out[i] = states[i] @ head
    return out


def trained(
    head: Tensor, states: Sequence[Tensor], old: Sequence[Tensor], rewards: Sequence[float], own: PpoSettings, seed: int
) -> Tensor:
    """The head after `value_epochs` over the edits, by AdamW on the clipped squared error."""
    head = head.clone().requires_grad_()
    optimizer = torch.optim.AdamW([head], lr=own.value_rate, weight_decay=0.0)
    draw = torch.Generator().manual_seed(seed)
    for _ in range(own.value_epochs):
        for chosen in torch.randperm(len(states), generator=draw).split(own.value_batch):
            x, v = torch.cat([states[i] for i in chosen]), torch.cat([old[i] for i in chosen])
            goal = torch.cat([torch.full((len(states[i]),), rewards[i]) for i in chosen])
            now = x @ head
            near = v + (now - v).clamp(-own.value_clip, own.value_clip)
            loss = 0.5 * torch.maximum((now - goal) ** 2, (near - goal) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return head.detach()


class Clipped:
    """The clipped ratio of every token with an advantage of its own; the mean over tokens."""

    def __init__(self, advantages: Sequence[Tensor], own: PpoSettings) -> None:
        self._advantages = advantages
        self._clip = own.clip_ratio

    def total(self, sequences: Sequence[Any], /) -> float:
        return float(sum(len(self._mine(one)) for one in sequences))

    def __call__(self, logprobs: Sequence[Tensor], sequences: Sequence[Any], /) -> Tensor:
        terms = []
        for now, sequence in zip(logprobs, sequences, strict=True):
            advantage = self._mine(sequence)
            ratio = (now - torch.tensor(sequence.meta["logprobs"])).clamp(-20, 20).exp()
            terms.append(-torch.minimum(ratio * advantage, ratio.clamp(1 - self._clip, 1 + self._clip) * advantage))
        return torch.cat(terms).sum()

    def _mine(self, sequence: Any) -> Tensor:
        return self._advantages[int(sequence.meta["advantage"])]
