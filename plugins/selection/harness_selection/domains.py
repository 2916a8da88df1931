"""DaaR's parts (Ling et al. 2025, arXiv 2502.04380): pseudo-domains, and a probe of how sure it is of them.

Pure functions of vectors and seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Vectors = NDArray[np.float64]


def kmeans(vectors: Vectors, centres: Vectors, steps: int = 100) -> NDArray[np.intp]:
    """The cluster of every vector, by Lloyd's algorithm from the given centres; an empty cluster keeps its centre.

    Args:
        vectors: [items, width].
        centres: [clusters, width].
    """
    centres = centres.copy()
    found = np.full(len(vectors), -1)
    for _ in range(steps):
        far = (vectors**2).sum(1)[:, None] - 2 * vectors @ centres.T + (centres**2).sum(1)
        new = far.argmin(1)
        if (new == found).all():
            break
        found = new
        for cluster in set(found.tolist()):
            centres[cluster] = vectors[found == cluster].mean(0)
    return found


def entropy(probabilities: Vectors) -> Vectors:
    """Of every row, in nats."""
    p = np.clip(probabilities, 1e-12, 1.0)
    out: Vectors = -(p * np.log(p)).sum(1)
    return out


class Probe:
    """A multilayer perceptron d, 2d, d, d/2, 256, outputs with ReLU, on frozen states; Adam, mean loss per batch."""

    def __init__(self, width: int, outputs: int, seed: int, *, rate: float, epochs: int, batch: int) -> None:
        self._seed, self._rate, self._epochs, self._batch = seed, rate, epochs, batch
        sizes = [width, 2 * width, width, max(1, width // 2), 256, outputs]
        with _seeded(seed):
            layers: list[nn.Module] = []
            for before, after in pairwise(sizes):
                layers += [nn.Linear(before, after), nn.ReLU()]
        self._net = nn.Sequential(*layers[:-1])

    def classify(self, states: Vectors, classes: Sequence[int]) -> Vectors:
        """Learn classes by cross-entropy; their probabilities for the same states, [items, classes]."""
        targets = torch.tensor(classes, dtype=torch.long)
        self._fit(states, targets, nn.CrossEntropyLoss())
        return self.probabilities(states)

    def regress(self, states: Vectors, values: Vectors) -> Vectors:
        """Learn one value per state by squared error; the predictions for the same states."""
        self._fit(states, torch.tensor(values, dtype=torch.float32)[:, None], nn.MSELoss())
        return self.values(states)

    def probabilities(self, states: Vectors) -> Vectors:
        return self._outputs(states).softmax(-1).double().numpy()

    def values(self, states: Vectors) -> Vectors:
        return self._outputs(states)[:, 0].double().numpy()

    def _outputs(self, states: Vectors) -> Tensor:
        with torch.no_grad():
            out: Tensor = self._net(torch.tensor(states, dtype=torch.float32))
        return out

    def _fit(self, states: Vectors, targets: Tensor, loss: nn.Module) -> None:
        inputs = torch.tensor(states, dtype=torch.float32)
        optimiser = torch.optim.Adam(self._net.parameters(), lr=self._rate)
        draw = torch.Generator().manual_seed(self._seed)
        for _ in range(self._epochs):
            for part in torch.split(torch.randperm(len(inputs), generator=draw), self._batch):
                optimiser.zero_grad()
                loss(self._net(inputs[part]), targets[part]).backward()
                optimiser.step()


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Torch's own initialisation from a seed, without a trace in the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
