"""The settings of losses, under the names that configurations use. Imports nothing heavy.

The formulas, with their sources, are in :mod:`harness.engine.losses`, whose fields these repeat.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import ConfigDict, Discriminator, Field, Tag

_STRICT = ConfigDict(extra="forbid")
_Share = Annotated[float, Field(ge=0, lt=1)]
_Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class DpoSettings:
    """Learns from preferences."""

    __pydantic_config__ = _STRICT

    use: Literal["dpo"]
    """Names the loss."""
    beta: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1
    """How much a preference moves the policy away from the model that the update starts from: less with a larger
    one."""
    smoothing: _Share = 0.0
    """Assumed share of flipped preferences."""
    nll: _Weight = 0.0
    """Weight of the mean negative log-likelihood of the preferred answer's tokens, added to the loss; 1 in the paper
    that introduced it (arXiv 2404.19733)."""


@dataclass(frozen=True)
class GrpoSettings:
    """Learns from rollouts, token by token."""

    __pydantic_config__ = _STRICT

    use: Literal["grpo"]
    """Names the loss."""
    clip_low: _Share = 0.2
    """A token's probability may fall to 1 - ``clip_low`` of what it was when it was drawn, as far as that pays."""
    clip_high: _Weight = 0.2
    """It may rise to 1 + ``clip_high`` of it; 0.28 is DAPO's."""
    dual_clip: _Weight = 0.0
    """The most that a token of a bad answer costs, as a multiple of its advantage: more than 1, often 3; 0 is off."""
    kl: _Weight = 0.0
    """Weight of the divergence from the policy that the update starts from."""
    kl_estimator: Literal["k2", "k3"] = "k3"
    """``k2`` has the gradient of KL(policy || start), ``k3`` that of KL(start || policy)."""
    entropy: _Weight = 0.0
    """Weight of a bonus on the entropy of the tokens."""
    average: Literal["token", "sequence", "length-free"] = "token"
    """``token`` counts every token alike, ``sequence`` every answer alike, ``length-free`` divides by ``length``."""
    length: Annotated[int, Field(ge=1)] = 256
    """The fixed length that ``length-free`` divides by, in tokens."""


@dataclass(frozen=True)
class RlooSettings:
    """Learns from rollouts, each answer as a whole."""

    __pydantic_config__ = _STRICT

    use: Literal["rloo"]
    """Names the loss."""
    clip_low: _Share = 0.2
    """The same bounds as for ``grpo``, on the probability of the whole answer."""
    clip_high: _Weight = 0.2
    """See ``clip_low``."""


def _which(value: Any) -> str:
    return str(value.get("use")) if isinstance(value, Mapping) else "name"


LossSettings: TypeAlias = Annotated[
    Annotated[Literal["sft", "dpo", "grpo", "rloo"], Tag("name")]
    | Annotated[DpoSettings, Tag("dpo")]
    | Annotated[GrpoSettings, Tag("grpo")]
    | Annotated[RlooSettings, Tag("rloo")],
    Discriminator(
        _which, custom_error_type="loss", custom_error_message="no such loss; there are sft, dpo, grpo and rloo"
    ),
]
"""A loss by its name, or a table ``{use = name, ...}`` with settings of its own."""


def plain(loss: str | DpoSettings | GrpoSettings | RlooSettings) -> str | dict[str, Any]:
    """A loss as :meth:`harness.api.Session.fit` takes it: its name, or a table of its name and settings."""
    return loss if isinstance(loss, str) else dataclasses.asdict(loss)
