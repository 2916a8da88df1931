"""Two updaters that need torch: one with a loss of its own, one that makes its weights by hand."""

from collections import defaultdict
from dataclasses import dataclass, replace

from harness import hookimpl
from harness.api import Example, Updated, Updater


@hookimpl
def harness_updaters():
    return {"focal": "down_to_torch:Focal", "one-step": "down_to_torch:OneStep"}


class FocalLoss:
    """Focal loss (arXiv 1708.02002, equation 4): tokens that the model already predicts well weigh little."""

    def __init__(self, gamma):
        self.gamma = gamma

    def __call__(self, logprobs, sequences):
        """``logprobs[i]``: the log-probabilities of the tokens of ``sequences[i]`` that are in the loss."""
        import torch

        flat = torch.cat(list(logprobs))
        return -((1 - flat.exp()) ** self.gamma * flat).mean()


@dataclass(frozen=True)
class FocalSettings:
    gamma: float = 2.0
    learning_rate: float = 2e-3
    epochs: int = 4


class Focal(Updater):
    """Fit with a callable loss: the jobs still train together in the engine."""

    Settings = FocalSettings
    accepts = frozenset({Example})

    def __init__(self, settings):
        self.settings = settings

    def apply(self, jobs, s):
        ours = {"learning_rate": self.settings.learning_rate, "epochs": self.settings.epochs, "pad_loss": "none"}
        jobs = [replace(job, settings={**ours, **job.settings}) for job in jobs]
        yield from s.fit(jobs, loss=FocalLoss(self.settings.gamma))


@dataclass(frozen=True)
class OneStepSettings:
    rate: float = 0.05
    rank: int = 4


class OneStep(Updater):
    """Borrow the module, compute the gradient of the loss on the job's texts, and store its best low-rank step."""

    Settings = OneStepSettings
    accepts = frozenset({Example})

    def __init__(self, settings):
        self.settings = settings

    def apply(self, jobs, s):
        by_start = defaultdict(list)
        for job in jobs:
            by_start[repr(job.start)].append(job)
        for same_start in by_start.values():
            with s.borrow(same_start[0].start) as (module, tokenizer):
                steps = [self._step(module, tokenizer, s.expand(job)) for job in same_start]
            # Weights are stored after the module was returned: until then the model answers no request.
            for job, step in zip(same_start, steps, strict=True):
                yield self._stored(job, step, s)

    def _step(self, module, tokenizer, examples):
        import torch

        texts = [example.prompt + example.target for example in examples if isinstance(example.prompt, str)]
        if not texts:
            return None
        weights = {
            name: p for name, p in module.named_parameters() if name.endswith(("q_proj.weight", "v_proj.weight"))
        }
        module.requires_grad_(True)
        total = sum(
            module(**batch, labels=batch["input_ids"]).loss for batch in self._batches(tokenizer, texts, module)
        )
        gradients = torch.autograd.grad(total / len(texts), list(weights.values()))
        return {name.removesuffix(".weight"): self._low_rank(g) for name, g in zip(weights, gradients, strict=True)}

    def _batches(self, tokenizer, texts, module):
        for text in texts:
            yield tokenizer(text, return_tensors="pt", return_token_type_ids=False).to(module.device)

    def _low_rank(self, gradient):
        import torch

        u, values, v = torch.linalg.svd(gradient.detach().float(), full_matrices=False)
        rank = self.settings.rank
        return v[:rank], -self.settings.rate * u[:, :rank] * (values[:rank] / values[0])

    def _stored(self, job, step, s):
        if step is None:
            return Updated(job.id, None, "failed", "there is no text to learn from")
        tensors = {}
        for name, (a, b) in step.items():
            tensors |= {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}
        rank = self.settings.rank
        config = {"kind": "lora", "rank": rank, "alpha": float(rank), "targets": ["q_proj", "v_proj"]}
        digest = s.store(tensors, config)
        return Updated(job.id, replace(job.start, adapters=(*job.start.adapters, digest)), log={"steps": 1})
