"""Ray's actors as workers: on this machine, killed, and on a node that goes away."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from harness.errors import UsageError
from harness.workers.chosen import Workers
from tests.workers.conftest import Open

PROMPTS = [f"slow {i}" for i in range(60)]


@pytest.fixture
def ray() -> Iterator[object]:
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")
    yield ray
    ray.shutdown()


@pytest.mark.slow
def test_actors_answer_as_processes_do_and_a_killed_one_is_replaced(opened: Open, ray: object) -> None:
    executor = Workers("cpu:2", "ray").executor_class()(["cpu", "cpu"])
    pooled = opened("pooled", executor=executor)
    prompts = [*PROMPTS[:9], "once die", *PROMPTS[9:]]
    assert pooled.answers(prompts) == opened("alone", workers=0).answers(prompts)
    [line] = pooled.said
    assert "was lost" in line
    assert pooled.session.journal.ran == len(prompts)


@pytest.mark.slow
def test_a_node_that_is_removed_costs_its_pack_alone(
    opened: Open, ray: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        node = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False)  # type: ignore[attr-defined]
        actors = Workers("cpu:2", "ray").executor_class()
        pooled = opened(
            "pooled",
            executor=actors(["cpu", "cpu"]),
        )
        pooled.answers([f"slow and warm {i}" for i in range(16)])
        monkeypatch.setattr(actors, "start_within", 20.0)  # so long it looks for room that is gone
        removal = threading.Timer(1.0, cluster.remove_node, [node])
        removal.start()
        answers = pooled.answers(PROMPTS)
        removal.join()
        assert answers == opened("alone", workers=0).answers(PROMPTS)
        assert any("was lost" in line for line in pooled.said)
        assert pooled.session.journal.ran == 16 + len(PROMPTS)
    finally:
        ray.shutdown()  # type: ignore[attr-defined]
        cluster.shutdown()


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    monkeypatch.delitem(__import__("sys").modules, "harness.workers.ray_executor", raising=False)
    with pytest.raises(UsageError, match=r"executor 'ray' cannot be imported.*selfadapt-harness\[ray\]"):
        Workers("cpu:2", "ray")
