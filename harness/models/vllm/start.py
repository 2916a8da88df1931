"""Starting a vLLM server in an environment of its own, such that adapters can be asked beside the base model."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.models.vllm.server import RANKS, legal_rank

PYTHON = "HARNESS_VLLM_PYTHON"
"""The environment variable that names the server's interpreter where no option does."""
_ALONE = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
_LAST = 8


@dataclass(frozen=True)
class Start:
    """How a server is started.

    Raises:
        UsageError: a rank or a number that vLLM does not take.
    """

    folder: Path
    """The model's folder."""
    targets: Sequence[str]
    """Suffixes of the modules that adapters may change: all linear ones but the output head. Where vLLM also wraps the
    head, it scores prompts with the rows of another request, or ends with an error (0.32)."""
    dtype: str
    python: str = ""
    """The interpreter that has vLLM; "" takes the variable :data:`PYTHON`, or else ``python3``."""
    host: str = "127.0.0.1"
    port: int = 8000
    max_loras: int = 8
    max_lora_rank: int = 64
    further: Sequence[str] = ()
    """Further options of ``vllm serve``."""
    wait: float = 900.0
    """Seconds in which it has to be ready."""

    def __post_init__(self) -> None:
        if self.max_lora_rank not in RANKS:
            raise UsageError(
                f"vLLM takes no --max-lora-rank {self.max_lora_rank}; {legal_rank(self.max_lora_rank)} is the next of "
                f"{', '.join(map(str, RANKS))}"
            )
        if self.max_loras < 2:
            raise UsageError("--max-loras must be at least 2: one place is the base model's")

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://{self.host}:{self.port}"

    def command(self) -> list[str]:
        """The command line.

        Raises:
            UsageError: the interpreter is not there, or has no vLLM.
        """
        named = self.python or os.environ.get(PYTHON, "") or "python3"
        python = shutil.which(os.path.expanduser(named))
        how = f"make an environment for it and name its interpreter with --python or {PYTHON}"
        if python is None:
            raise UsageError(f"there is no interpreter {named!r} for vLLM; {how}")
        looked = subprocess.run(
            [python, "-c", "import importlib.util as u; raise SystemExit(u.find_spec('vllm') is None)"],
            capture_output=True,
            check=False,
        )
        if looked.returncode:
            raise UsageError(f"{python} has no vLLM; {how}: python3 -m venv vllm-env && vllm-env/bin/pip install vllm")
        return [
            python, "-m", "vllm.entrypoints.cli.main", "serve", str(self.folder),
            "--served-model-name", "base", "--host", self.host, "--port", str(self.port), "--dtype", self.dtype,
            "--enable-lora", "--max-loras", str(self.max_loras),
            "--max-cpu-loras", str(4 * self.max_loras),  # what is loaded between two calls pushes nothing out
            "--max-lora-rank", str(self.max_lora_rank), "--lora-target-modules", *self.targets,
            "--generation-config", "vllm", "--logprobs-mode", "raw_logprobs", *self.further,
        ]  # fmt: skip


@contextmanager
def started(start: Start, log: Path, say: Callable[[str], None]) -> Iterator[subprocess.Popen[bytes]]:
    """A server that is ready to answer, ended when the block is left.

    Args:
        log: the file that takes what it writes.

    Raises:
        UsageError: something listens at its port already, or it ended or was not ready in time; with its last words.
    """
    with socket.socket() as probe:
        probe.settimeout(2)
        if probe.connect_ex((start.host, start.port)) == 0:
            raise UsageError(f"something listens at {start.host}:{start.port} already; choose another --port")
    command = start.command()
    say(" ".join(command))
    with log.open("wb") as into:
        server = subprocess.Popen(command, stdout=into, stderr=subprocess.STDOUT, env={**os.environ, **_ALONE})
    try:
        _wait(server, start, log, say)
        yield server
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait(server: subprocess.Popen[bytes], start: Start, log: Path, say: Callable[[str], None]) -> None:
    began = said = time.monotonic()
    while True:
        if server.poll() is not None:
            raise UsageError(f"vLLM ended with exit code {server.returncode}; the end of {log}: {end_of(log)}")
        try:
            with urllib.request.urlopen(f"{start.url}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:  # not there yet
            pass
        now = time.monotonic()
        if now - began > start.wait:
            raise UsageError(f"vLLM was not ready after {start.wait:.0f} s; the end of {log}: {end_of(log)}")
        if now - said > 30:
            said = now
            say(f"vLLM is starting ({now - began:.0f} s so far; its log is {log})")
        time.sleep(0.5)


def end_of(log: Path) -> str:
    """The last lines of a log, on one line."""
    lines = log.read_text("utf-8", "replace").split("\n")
    return " | ".join([line.strip()[:200] for line in lines if line.strip()][-_LAST:]) or "nothing was written"
