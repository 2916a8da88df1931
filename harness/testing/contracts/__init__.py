"""Contract tests: subclass one in a test module and name the component; every rule for its kind is then tested.

The message of a failed check can be understood without the source of the check. Nothing here needs pytest:
``harness plugins check`` runs the same methods.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.testing.contracts.base import Contract
from harness.testing.contracts.editor import EditorContract
from harness.testing.contracts.evaluator import EvaluatorContract
from harness.testing.contracts.model import ModelContract
from harness.testing.contracts.protocol import ProtocolContract
from harness.testing.contracts.reward import RewardContract
from harness.testing.contracts.task import TaskContract
from harness.testing.contracts.trainer import TrainerContract
from harness.testing.contracts.updater import UpdaterContract

CONTRACTS: Mapping[str, type[Contract]] = {
    "task": TaskContract,
    "model": ModelContract,
    "editor": EditorContract,
    "reward": RewardContract,
    "updater": UpdaterContract,
    "evaluator": EvaluatorContract,
    "trainer": TrainerContract,
    "protocol": ProtocolContract,
}
"""Kind of component -> its contract."""

__all__ = [
    "CONTRACTS",
    "Contract",
    "EditorContract",
    "EvaluatorContract",
    "ModelContract",
    "ProtocolContract",
    "RewardContract",
    "TaskContract",
    "TrainerContract",
    "UpdaterContract",
]
