"""Write ``lab-replay.jsonl``: text from the lab model's own pre-training, to be mixed into its updates.

python -m harness_entigraph.lab_replay
"""

from __future__ import annotations

import json
import random
from pathlib import Path

DOCUMENTS = 300
SEED = "entigraph/lab-replay"


def documents() -> list[str]:
    """Statements and closed-book answers about the entities that pre-training teaches."""
    from harness_lab.pretraining.batches import RESIDENT_SEED
    from harness_lab.pretraining.mix import EOS, MixWriter, residents

    writer = MixWriter(random.Random(SEED), residents(RESIDENT_SEED))
    found = []
    for _ in range(DOCUMENTS):
        parts = [text for text, _ in writer.resident()]
        found.append("".join(part for part in parts if part != EOS))
    return found


if __name__ == "__main__":
    path = Path(__file__).with_name("lab-replay.jsonl")
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in documents()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
