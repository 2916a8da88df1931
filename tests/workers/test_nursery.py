"""The process that workers are forked from."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from harness.workers.executors import Processes
from harness.workers.nursery import Nursery
from harness.workers.worker import KEY
from tests.workers.conftest import Open

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")


def test_a_killed_nursery_costs_the_packs_under_way_and_is_replaced(opened: Open) -> None:
    """Its children end with it. The pool sees workers that are lost, and starts others, from a new one."""
    pooled = opened("pooled")
    pooled.answers(["a", "b"])
    first = Processes._nursery
    assert first is not None
    os.kill(first._process.pid, signal.SIGKILL)
    prompts = [f"slow {i}" for i in range(16)]
    assert pooled.answers(prompts) == opened("alone", workers=0).answers(prompts)
    assert pooled.said
    assert all("was lost" in line for line in pooled.said)
    assert Processes._nursery is not first
    assert pooled.pool is not None
    pooled.pool.close()
    assert Processes._nursery is None, "it ends with the last executor that needs it"


def test_a_child_ends_as_a_child_of_this_process_would() -> None:
    """With the status that it ended with, or the signal that killed it; the nursery goes on."""
    nursery, environment = Nursery(), {**os.environ, KEY: "00"}
    try:
        with socket.create_server(("127.0.0.1", 0)) as door:
            address = f"127.0.0.1:{door.getsockname()[1]}"
            waiting = nursery.fork(address, environment)
            with pytest.raises(subprocess.TimeoutExpired):
                waiting.wait(0.1)
            waiting.kill()
            assert waiting.wait(10) == -signal.SIGKILL
        assert nursery.fork(address, environment).wait(10) == 1, "nobody listens there any more"
    finally:
        nursery.close()
    assert nursery.poll() is not None
