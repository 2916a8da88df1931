"""``harness serve vllm``: the command line of the server, what proves it, and what bad input gets."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")
pytest.importorskip("tenacity")

from harness.cli import main
from harness.models.vllm.server import RANKS, legal_rank

ROOT = Path(__file__).parents[2]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This interpreter has a package ``vllm`` whose command line starts the stand-in server."""
    package = tmp_path / "stub" / "vllm" / "entrypoints" / "cli"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parent.parent):
        (folder / "__init__.py").touch()
    (package / "main.py").write_text("from tests.models.fake_vllm import main\nmain()\n", encoding="utf-8")
    path = os.pathsep.join([str(tmp_path / "stub"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("HARNESS_VLLM_PYTHON", sys.executable)
    return tmp_path / "vllm.log"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "vllm", *words])
    return int(ended.value.code or 0)


def test_a_server_is_started_and_proven(
    folders: Mapping[str, Path], stand_in: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    words = ["--model", str(folders["llama"]), "--device", "cpu", "--port", str(port), "--log", str(stand_in)]
    assert serve(*words, "--max-lora-rank", "16", "--canaries", "6", "--check", "--", "--wish", "granted") == 0
    said = capsys.readouterr()
    assert "6 of 6 base and 6 of 6 adapter answers are the engine's" in said.err
    spec = f"--model vllm:{folders['llama']} --set model.endpoint=http://127.0.0.1:{port} --set model.dtype=float32"
    assert said.out == f"harness run {spec}\n"
    assert "wished: granted" in stand_in.read_text("utf-8")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "it is ended"


def test_a_server_that_mixes_adapters_up_is_ended(
    folders: Mapping[str, Path], stand_in: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_VLLM", json.dumps({"mixes_up": True}))
    port = free_port()
    words = ["--model", str(folders["llama"]), "--device", "cpu", "--port", str(port), "--log", str(stand_in)]
    assert serve(*words, "--canaries", "6") == 2
    assert "of 6 base and 6 of 6 adapter answers are the engine's" in capsys.readouterr().err
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_what_cannot_be_started_is_one_line(
    folders: Mapping[str, Path],
    tmp_path: Path,
    stand_in: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--model", str(folders["llama"]), "--device", "cpu", "--port", str(free_port()), "--log", str(stand_in)]

    def said(*more: Any) -> str:
        assert serve(*words, *more) == 2
        [line] = [line for line in capsys.readouterr().err.splitlines() if "-m vllm." not in line]
        return line

    assert "takes no --max-lora-rank 24; 32 is the next of 1, 8, 16" in said("--max-lora-rank", "24")
    assert "--max-loras must be at least 2" in said("--max-loras", "1")
    assert "no interpreter '/no/python' for vLLM; make an environment" in said("--python", "/no/python")
    monkeypatch.setenv("FAKE_VLLM", json.dumps({"dies": "torchvision::nms does not exist"}))
    assert "vLLM ended with exit code 1; the end of" in (line := said())
    assert line.endswith("torchvision::nms does not exist")
    (tmp_path / "stub" / "vllm" / "__init__.py").unlink()
    (tmp_path / "stub" / "vllm").rename(tmp_path / "stub" / "other")
    assert "has no vLLM; make an environment for it and name its interpreter with --python" in said()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "something listens at" in said("--port", str(taken.getsockname()[1]))


def test_the_next_rank_that_vllm_takes() -> None:
    assert [legal_rank(rank) for rank in (1, 2, 8, 9, 40, 300, 513)] == [1, 8, 8, 16, 64, 320, 512]
    assert list(RANKS) == sorted(RANKS)
