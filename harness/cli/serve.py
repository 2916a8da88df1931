"""``harness serve``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from harness.models.vllm.model import VllmModel

app = typer.Typer(no_args_is_help=True, help="Start a server that generates and scores texts for runs.")


@app.callback()
def serve() -> None:
    """Start a server that generates and scores texts for runs."""


@app.command(context_settings={"allow_extra_args": True})
def vllm(
    context: typer.Context,
    model: Annotated[str, typer.Option(help="The model: a folder, a hub name, or a model of a plugin such as lab.")],
    python: Annotated[
        str, typer.Option(help="The interpreter of the environment that has vLLM.", envvar="HARNESS_VLLM_PYTHON")
    ] = "",
    host: Annotated[str, typer.Option(help="Where it listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Where it listens.")] = 8000,
    max_lora_rank: Annotated[
        int, typer.Option(help="The largest rank of an adapter: 1, 8, 16, 32, 64, 128, 256, 320 or 512.")
    ] = 64,
    max_loras: Annotated[int, typer.Option(help="Adapters computed side by side, one of which is the base.")] = 8,
    device: Annotated[str, typer.Option(help="Where this process computes the canaries' answers.")] = "auto",
    dtype: Annotated[
        str, typer.Option(help="Precision of the weights, here and there; auto as with --model hf.")
    ] = "auto",
    canaries: Annotated[int, typer.Option(help="Requests to the base, and as many to adapters, that prove it.")] = 48,
    log: Annotated[Path | None, typer.Option(help="The file that takes what vLLM writes.")] = None,
    wait: Annotated[float, typer.Option(help="Seconds in which it has to be ready.")] = 900.0,
    check: Annotated[bool, typer.Option("--check", help="End when it is proven.")] = False,
) -> None:
    """Start a vLLM server for `--model vllm:...`, and prove that its answers are those of the model here.

    It runs until Ctrl-C. What stands after `--` goes to `vllm serve`.

    Example:  harness serve vllm --model Qwen/Qwen2.5-7B --python ~/vllm-env/bin/python -- --gpu-memory-utilization 0.5

    Exit codes: 0 it was ended, 2 it cannot be started, or its answers are wrong.
    """
    import shlex

    from harness.errors import RunError
    from harness.escape import line
    from harness.models.vllm.start import end_of, started

    def say(text: str) -> None:
        print(line(f"harness: {text}"), file=sys.stderr, flush=True)

    url = f"http://{host}:{port}"
    local = _local(model, device, dtype, url)
    start = local.start(
        python=python,
        host=host,
        port=port,
        max_loras=max_loras,
        max_lora_rank=max_lora_rank,
        further=context.args,
        wait=wait,
    )
    to = log or Path(tempfile.mkdtemp(prefix="harness-serve-")) / "vllm.log"
    with started(start, to, say) as server:
        say(f"ready; {local.prove(canaries)}")
        path = shlex.quote(f"vllm:{local.settings.path}")
        print(f"harness run --model {path} --set model.endpoint={url} --set model.dtype={start.dtype}", flush=True)
        if not check:
            server.wait()
            raise RunError(f"vLLM ended with exit code {server.returncode}; the end of {to}: {end_of(to)}")


def _local(model: str, device: str, dtype: str, url: str) -> VllmModel:
    """The model here, whose answers the server has to give.

    Raises:
        UsageError: it is none that transformers loads.
    """
    import dataclasses

    from harness.api import Model
    from harness.books.store import WeightStore
    from harness.errors import UsageError
    from harness.models.hf import HfModel
    from harness.models.vllm.model import VllmModel
    from harness.models.vllm.settings import VllmSettings
    from harness.registry.build import build
    from harness.registry.discover import Plugins
    from harness.runs.named import model_table

    plugins = Plugins()
    found = build(plugins, Model, model_table(plugins, model), "model").instance
    if not isinstance(found, HfModel):
        raise UsageError(f"--model {model}: vLLM serves models in Hugging Face's format: a folder or a hub name")
    path = found.settings.path
    where = str(Path(path).expanduser().resolve()) if Path(path).expanduser().is_dir() else path
    given = {"path": where, "device": device, "dtype": dtype, "endpoint": url}
    kept = {one.name: getattr(found.settings, one.name) for one in dataclasses.fields(found.settings)}
    settings = VllmSettings(**kept | {name: value for name, value in given.items() if value != "auto"})
    return VllmModel(settings, WeightStore(Path(tempfile.gettempdir()) / "harness-no-weights"))
