"""The default run's time from start to leaderboard, by stage.

    python benchmarks/default_run.py

Runs ``harness run --plugin seal`` in a temporary folder and prints the seconds per stage from the result file, summed
over the run's methods. The rest is start-up and writing records.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STAGES = {
    "outer_s": "ReST-EM (edits, trials, training of the policy)",
    "update_s": "updates of the test pages",
    "generation_s": "edits of the test pages",
    "grading_s": "answers and grading",
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        words = ["run", "--plugin", "seal", "--out", folder, "--set", f"leaderboard={folder}/leaderboards"]
        started = time.monotonic()
        subprocess.run([sys.executable, "-c", "from harness.cli import main; main()", *words], check=True)
        total = time.monotonic() - started
        [path] = Path(folder, "leaderboards").glob("*/*.json")
        rows = json.loads(path.read_text("utf-8"))["tables"][0]["rows"]
    spent = {stage: sum(row["costs"][stage] for row in rows) for stage in STAGES}
    spent["rest"] = total - sum(spent.values())
    names = {**STAGES, "rest": "start-up and writing records"}
    print(f"{total:.0f} s from start to leaderboard")
    for stage, seconds in spent.items():
        print(f"{seconds:7.1f} s {100 * seconds / total:5.1f}%  {names[stage]}")


if __name__ == "__main__":
    main()
