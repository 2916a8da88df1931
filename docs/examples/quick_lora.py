"""An updater: LoRA with its number of epochs as a setting, and the model's defaults for everything else."""

from dataclasses import dataclass, replace

from harness import hookimpl
from harness.api import Example, Updater


@hookimpl
def harness_updaters():
    return {"quick-lora": "quick_lora:QuickLora"}


@dataclass(frozen=True)
class Settings:
    epochs: int = 2


class QuickLora(Updater):
    Settings = Settings
    accepts = frozenset({Example})

    def __init__(self, settings):
        self.settings = settings

    def apply(self, jobs, s):
        yield from s.fit([replace(job, settings={"epochs": self.settings.epochs, **job.settings}) for job in jobs])
