"""Workers: the same results with any, what they cost, and how far they go.

    OMP_NUM_THREADS=1 python benchmarks/workers.py equality --workers processes:1 processes:2 processes:3
    OMP_NUM_THREADS=1 python benchmarks/workers.py speed --limit 64 --workers none processes:2 none processes:2
    OMP_NUM_THREADS=1 python benchmarks/workers.py overhead
    OMP_NUM_THREADS=1 python benchmarks/workers.py journal
    python benchmarks/workers.py simulate

``equality`` runs the method ``passage`` with the embedded model in one process and then with each set of workers named,
and compares every item of the journals, whose keys hold the digests of the adapters that were trained. ``speed`` runs
``passage-repeat``, whose updates have many steps, in a process of its own for each set of workers: wall time, CPU time
of all processes, and the share of their time that workers had no pack, from the first pack's begin to the last one's
end. ``simulate`` plays one outer round of SEAL at 7B; what it assumes stands at the top of its output.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import harness
from harness.api import Completion, Model, Request, State
from harness.books.item import Item
from harness.books.journal import Journal
from harness.books.store import WeightStore
from harness.registry.build import build
from harness.registry.discover import Plugins
from harness.registry.settings import check_settings
from harness.workers.chosen import Workers
from harness.workers.executors import Processes
from harness.workers.packs import Opening, Pack
from harness.workers.pool import Pool


class Echo(Model):
    """Answers at once, so that what is measured is the way there and back."""

    local = True
    base = "echo"
    can: ClassVar[frozenset[str]] = frozenset({"generate"})
    Settings = None

    def __init__(self, settings: Any, weights: Any) -> None:
        pass

    def generate(self, asks: Sequence[Request], /) -> list[list[Completion]]:
        return [[Completion(ask, "answer")] for ask in asks]


def cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def items(run: Path) -> dict[str, Any]:
    """What a run's journal holds, without times."""
    with closing(sqlite3.connect(run / "journal.sqlite")) as database:
        rows = database.execute("SELECT digest, kind, status, result, weights FROM items").fetchall()
    out = {}
    for key, kind, status, result, weights in rows:
        value = json.loads(result)
        if isinstance(value, dict) and isinstance(value.get("log"), dict):
            value["log"].pop("seconds", None)
        out[key] = (kind, status, value, weights)
    return out


def equality(limit: int, names: Sequence[str]) -> None:
    found: dict[str, dict[str, Any]] = {}
    print(f"{'workers':14} {'items':>6} {'equal':>6} {'wall s':>8} {'CPU s':>8} {'booked s':>9}", flush=True)
    for name in ("none", *names):
        executor, _, count = name.partition(":")
        workers = Workers() if name == "none" else Workers(f"cpu:{count}", executor)
        with tempfile.TemporaryDirectory() as folder:
            wall, cpu = time.perf_counter(), cpu_seconds()
            config = {"method": "passage", "limit": limit, "out": folder, "leaderboard": "", "beside": []}
            done = harness.run(config, workers=workers)
            wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
            found[name] = items(done.folder)
        same = sum(found[name].get(key) == value for key, value in found["none"].items())
        booked = sum(
            float(row.costs.get(f"{part}_s") or 0) for row in done.result.rows for part in ("update", "grading")
        )
        print(f"{name:14} {len(found[name]):6} {same:6} {wall:8.1f} {cpu:8.1f} {booked:9.1f}", flush=True)


def speed(limit: int, names: Sequence[str]) -> None:
    print(f"{'workers':14} {'wall s':>8} {'CPU s':>8} {'packs s':>8} {'idle':>6}", flush=True)
    for name in names:
        wall, cpu = time.perf_counter(), cpu_seconds()
        command = [sys.executable, __file__, "one", "--limit", str(limit), "--workers", name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
        packs, span = map(float, done.stdout.split())
        count = int(name.partition(":")[2] or 1)
        idle = f"{1 - packs / count / span:6.1%}" if packs else ""
        print(f"{name:14} {wall:8.1f} {cpu:8.1f} {packs:8.1f} {idle:>6}", flush=True)


def one(limit: int, name: str) -> None:
    """A run; prints the seconds of all packs together, and those from the first one's begin to the last one's end."""
    times: list[tuple[float, float]] = []
    ask = Pool._ask

    def timed(self: Pool, *what: Any) -> Any:
        began = time.perf_counter()
        answer = ask(self, *what)
        times.append((began, time.perf_counter()))
        return answer

    Pool._ask = timed  # type: ignore[assignment,method-assign]
    executor, _, count = name.partition(":")
    workers = Workers() if name == "none" else Workers(f"cpu:{count}", executor)
    with tempfile.TemporaryDirectory() as folder:
        config = {"method": "passage-repeat", "limit": limit, "out": folder, "leaderboard": "", "beside": []}
        harness.run(config, workers=workers)
    begins, ends = zip(*times, strict=True) if times else ((0.0,), (0.0,))
    print(sum(ends) - sum(begins), max(ends) - min(begins))


def overhead() -> None:
    import torch

    from harness.books.artefacts import artefact_bytes
    from harness.engine import Adapter

    with tempfile.TemporaryDirectory() as folder:
        lab = build(Plugins(()), Model, {"use": "lab"}, "model", WeightStore(Path(folder)))
        settings = check_settings(type(lab.instance).Settings, lab.settings, "model", "model")
        Workers("cpu:1").pool(lab.instance, settings, print)[0].close()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"a worker that opens the embedded model and ends: {used.ru_utime + used.ru_stime:.1f} CPU s")
    pool = Pool(Processes(["cpu"]), Opening(Echo, None, ""), print)
    began = time.perf_counter()
    pool.first("echo")
    pool.start({})
    print(f"starting a worker: {time.perf_counter() - began:.1f} s wall")
    asks = [Request(State("echo"), "a prompt of some length " * 8, max_tokens=64) for _ in range(256)]
    numbers = 4096 * 32
    adapters = {
        f"a{i}": Adapter({f"m{j}": (torch.randn(32, 4096), torch.randn(4096, 32)) for j in range(4)}, 32, 64.0, ("m",))
        for i in range(8)
    }
    size = sum(len(artefact_bytes(one)) for one in adapters.values()) / 2**20
    for what, pack, weights in (
        ("one request", Pack("generate", asks[:1]), {}),
        ("256 requests", Pack("generate", asks), {}),
        (f"one request, 8 adapters of {numbers * 8} numbers ({size:.0f} MiB)", Pack("generate", asks[:1]), adapters),
    ):
        times = []
        for i in range(20):
            fresh = {f"{name}-{what}-{i}": one for name, one in weights.items()}
            wall, cpu = time.perf_counter(), time.process_time()
            pool.submit(pack, fresh).result()
            times.append((time.perf_counter() - wall, time.process_time() - cpu))
        wall, cpu = (sorted(column)[len(times) // 2] for column in zip(*times, strict=True))
        print(f"{what}: {1000 * wall:.1f} ms wall, {1000 * cpu:.1f} ms CPU of the driver (medians of {len(times)})")
    pool.close()


def journal() -> None:
    for kind, result in (
        (
            "completion",
            [{"text": "x" * 300, "tokens": None, "logprobs": None, "finish": "stop", "cost": {}, "reason": ""}],
        ),
        ("trial", {"log": {"loss": 0.1, "tokens": 900}, "scores": [{"value": 1.0, "answers": ["x" * 40]}] * 6}),
    ):
        for together in (16, 256):
            with tempfile.TemporaryDirectory() as folder:
                books = Journal(Path(folder))
                count = 16384
                wall, cpu = time.perf_counter(), time.process_time()
                for start in range(0, count, together):
                    made = [
                        Item(f"{i:040d}", kind, "m", "ok", result, {"seconds": 1.0})
                        for i in range(start, start + together)
                    ]
                    with books.writing():
                        books.book(made)
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                books.close()
            print(
                f"{kind}, {together} a transaction: {count / wall:,.0f} items/s wall, {count / cpu:,.0f} per CPU second"
            )


def simulate() -> None:
    """Queueing alone: workers take packs longest-waiting first; a pack's adapters come home over one network card."""
    edits, each, edit_tokens = 750, 37.5, 6.0
    network, adapter_mb, booking = 1000.0, 40.0, 1 / 2000
    print(
        f"One round of {edits} edits. An update on one with its answers takes {each} s of a GPU (30 to 45 s, says\n"
        f"SEAL), with a log-normal spread of 0.3; writing one takes {edit_tokens} s (assumed). Packing gains nothing\n"
        f"(assumed). Adapters of {adapter_mb:.0f} MB reach the driver at {network:.0f} MB/s; it books "
        f"{1 / booking:.0f} items/s."
    )
    print(f"{'pack':>5} {'workers':>8} {'hours':>7} {'times one':>10} {'busy':>6} {'driver':>7}")
    rng = random.Random(0)
    lengths = [each * rng.lognormvariate(-0.045, 0.3) for _ in range(edits)]
    for size in (16, 8, 4, 1):
        alone = 0.0
        for workers in (1, 8, 64, 256):
            writing = _makespan([edit_tokens * len(lengths[i : i + size]) for i in range(0, edits, size)], workers, 0.0)
            packs = [sum(lengths[i : i + size]) for i in range(0, edits, size)]
            home = size * (adapter_mb / network + booking)
            trying = _makespan(packs, workers, home)
            whole = writing + trying
            alone = alone or whole
            busy = (sum(packs) + edit_tokens * edits) / whole / workers
            driver = home * len(packs) / whole
            print(f"{size:5} {workers:8} {whole / 3600:7.2f} {alone / whole:10.1f} {busy:6.0%} {driver:7.1%}")


def _makespan(packs: Sequence[float], workers: int, home: float) -> float:
    """Seconds until the last of ``packs`` is booked, where the driver takes ``home`` seconds for each."""
    free, ends = [0.0] * workers, []
    for seconds in packs:
        ends.append(heapq.heappop(free) + seconds)
        heapq.heappush(free, ends[-1])
    booked = 0.0
    for end in sorted(ends):
        booked = max(booked, end) + home
    return booked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["equality", "speed", "one", "overhead", "journal", "simulate"])
    parser.add_argument("--workers", nargs="*", help="executor:count, such as processes:2 or ray:2")
    parser.add_argument("--limit", type=int, default=32)
    given = parser.parse_args()
    if given.what == "equality":
        equality(given.limit, given.workers or ["processes:1", "processes:2", "processes:3"])
    elif given.what == "speed":
        speed(given.limit, given.workers or ["none", "processes:2"])
    elif given.what == "one":
        one(given.limit, given.workers[0])
    else:
        {"overhead": overhead, "journal": journal, "simulate": simulate}[given.what]()


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import workers as itself  # workers of Echo import it by this name, not as __main__

    Echo = itself.Echo  # type: ignore[misc]
    main()
