"""What it would cost to bring training steps to few shapes, as CUDA graphs need them.

    python benchmarks/step_shapes.py

Steps of packed training are put together from the recorded edits' lengths (`workload.py`). Token positions are padded
to four sizes per octave, and the runs and lengths of each attention group to powers of two.
"""

from __future__ import annotations

import random
from pathlib import Path

from workload import edit_lengths

from harness.engine.attention import group_by_length

STEPS = 400


def main() -> None:
    edits, where = edit_lengths(Path(__file__).parents[2] / "shared" / "data")
    print(f"{len(edits)} edits, {where}; {STEPS} steps")
    rng = random.Random(0)
    for slots, room in ((16, 2048), (128, 8192)):
        positions = padded = cells = padded_cells = 0
        exact, few = set(), set()
        for _ in range(STEPS):
            lengths: list[int] = []
            while len(lengths) < slots and sum(lengths) + (length := rng.choice(rng.choice(edits))) <= room:
                lengths.append(length)
            total = sum(lengths)
            groups = [(len(group), lengths[group[0]]) for group in group_by_length(lengths)]
            larger = [(_power(runs), _power(length)) for runs, length in groups]
            positions, padded = positions + total, padded + _quarter(total)
            cells += sum(runs * length**2 for runs, length in groups)
            padded_cells += sum(runs * length**2 for runs, length in larger)
            exact.add((total, *groups))
            few.add((_quarter(total), *larger))
        print(
            f"{slots} slots, {room} tokens: {padded / positions:.2f} times the positions, "
            f"{padded_cells / cells:.2f} times the attention's cells, {len(few)} shapes instead of {len(exact)}"
        )


def _quarter(count: int) -> int:
    step = max(16, (1 << count.bit_length()) // 8)
    return -(-count // step) * step


def _power(count: int) -> int:
    return 1 << max(0, count - 1).bit_length()


if __name__ == "__main__":
    main()
