"""Finds the folder of a causal LM, checks that it can be used, and names its weights by a digest."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import reads
from harness.errors import UsageError, nearest
from harness.reading import parse_json, read_text

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model")
_BESIDE = ("merges.txt", "tokenizer_config.json", "chat_template.jinja")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
# Fields that change when another version of transformers saves the same model.
_INCIDENTAL = frozenset({"transformers_version", "_name_or_path", "dtype", "torch_dtype", "use_cache"})
_BLOCK = 1 << 24


@dataclass(frozen=True)
class Checkpoint:
    """A folder that holds a causal LM as safetensors, with its tokenizer."""

    folder: Path
    name: str
    """The model's name as the user wrote it."""
    config: Mapping[str, Any]
    """``config.json``."""
    generation: Mapping[str, Any]
    """``generation_config.json``; empty where there is none."""
    shards: tuple[Path, ...]

    def digest(self) -> str:
        """``hf:`` and 80 bits of SHA-256 over configuration, end-of-text ids, tokenizer and every tensor.

        It does not depend on where the model lies, nor on how its tensors are divided into files.
        """
        sha = hashlib.sha256()
        config = {key: value for key, value in self.config.items() if key not in _INCIDENTAL}
        sha.update(json.dumps([config, self.generation.get("eos_token_id")], sort_keys=True).encode())
        for name in (*_TOKENIZERS, *_BESIDE):
            path = self.folder / name
            if path.is_file():
                sha.update(name.encode() + hashlib.sha256(path.read_bytes()).digest())
        with ThreadPoolExecutor() as pool:
            tensors = [
                line for shard in pool.map(lambda path: list(_tensor_digests(path)), self.shards) for line in shard
            ]
        for line in sorted(tensors):
            sha.update(line.encode())
        return f"hf:{sha.hexdigest()[:20]}"


def find_checkpoint(path: str, revision: str | None = None, *, trust_remote_code: bool = False) -> Checkpoint:
    """The model at a folder, or on the Hugging Face hub (downloaded into the hub's own cache, safetensors only).

    Raises:
        UsageError: no such model (with the nearest folder names), or one without safetensors or a tokenizer.
    """
    if not path:
        raise UsageError("the model hf needs a folder or a hub name: --model ./my-model or --model Qwen/Qwen2.5-0.5B")
    folder = Path(path).expanduser()
    if folder.is_dir():
        return _read(folder, path)
    if folder.is_file():
        raise UsageError(f"model {path!r} is a file; give the folder that holds config.json and {_WEIGHTS}")
    return _read(_download(path, folder, revision, trust_remote_code), path)


def _read(folder: Path, name: str) -> Checkpoint:
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise UsageError(f"model {name!r} is an adapter without its base; give the base model's folder")
        inside = [child.name for child in sorted(folder.iterdir()) if (child / "config.json").is_file()]
        hint = f" There are models inside: {', '.join(inside[:5])}." if inside else ""
        raise UsageError(f"model {name!r}: the folder holds no config.json, so it is not a model.{hint}")
    if (folder / _INDEX).is_file():
        shards = sorted(set(_json(folder / _INDEX, name).get("weight_map", {}).values()))
        missing = [shard for shard in shards if not (folder / shard).is_file()]
        if missing or not shards:
            raise UsageError(
                f"model {name!r}: {_INDEX} names {f'{missing[0]}, which is missing' if missing else 'no files'}"
            )
    elif (folder / _WEIGHTS).is_file():
        shards = [_WEIGHTS]
    else:
        other = sorted(child.name for child in folder.iterdir() if child.suffix in {".bin", ".pt", ".pth", ".gguf"})
        found = f" (found {', '.join(other[:3])})" if other else ""
        raise UsageError(
            f"model {name!r}: no {_WEIGHTS}{found}; only safetensors are loaded, so save it again with "
            "model.save_pretrained(folder)"
        )
    if not any((folder / file).is_file() for file in _TOKENIZERS):
        raise UsageError(
            f"model {name!r}: no tokenizer (tokenizer.json); save one there with tokenizer.save_pretrained(folder)"
        )
    generation = folder / "generation_config.json"
    reads.digested(folder, (*shards, _INDEX, *_TOKENIZERS, *_BESIDE, "config.json", generation.name))
    return Checkpoint(
        folder,
        name,
        _json(folder / "config.json", name),
        _json(generation, name) if generation.is_file() else {},
        tuple(folder / shard for shard in shards),
    )


def _json(path: Path, name: str) -> Mapping[str, Any]:
    where = f"model {name!r}: {path.name}"
    value = parse_json(read_text(path, where=where), f"{where} cannot be read")
    if not isinstance(value, dict):
        raise UsageError(f"model {name!r}: {path.name} is not a JSON object")
    return value


def _download(path: str, folder: Path, revision: str | None, trust_remote_code: bool) -> Path:
    parent = folder.parent
    siblings = [child.parent.name for child in parent.glob("*/config.json")] if parent.is_dir() else []
    hint = nearest(folder.name, siblings)
    if path.startswith(("/", ".", "~")) or not _HUB_ID.fullmatch(path):
        raise UsageError(f"model {path!r}: no such folder.{hint}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RevisionNotFoundError

    patterns = ["model*.safetensors", _INDEX, "*.json", "*.jinja", "*.txt", "*.model"]
    try:
        return Path(
            snapshot_download(
                path,
                revision=revision,
                allow_patterns=patterns + (["*.py"] if trust_remote_code else []),
                ignore_patterns=["*/*"],
            )
        )
    except GatedRepoError as error:
        raise UsageError(f"model {path!r} is gated on the hub: accept its terms there and set HF_TOKEN") from error
    except RevisionNotFoundError as error:
        raise UsageError(f"model {path!r} has no revision {revision!r} on the hub") from error
    except (LocalEntryNotFoundError, OSError, HfHubHTTPError) as error:
        online = isinstance(error, HfHubHTTPError) and error.response is not None
        why = "the hub has no model of that name" if online else "the hub cannot be reached, and its cache has no copy"
        raise UsageError(f"model {path!r}: no such folder, and {why}.{hint}") from error


def _tensor_digests(path: Path) -> Iterator[str]:
    """Yields ``name dtype shape sha256`` for every tensor of a safetensors file, read block by block."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
            for name, tensor in sorted(header.items()):
                if name == "__metadata__":
                    continue
                begin, end = tensor["data_offsets"]
                file.seek(8 + length + begin)
                sha, left = hashlib.sha256(), end - begin
                while left:
                    block = file.read(min(left, _BLOCK))
                    if not block:
                        raise ValueError(f"tensor {name} is cut off")
                    sha.update(block)
                    left -= len(block)
                yield f"{name} {tensor['dtype']} {tensor['shape']} {sha.hexdigest()}\n"
    except (OSError, ValueError, KeyError, struct.error, MemoryError, OverflowError) as error:
        raise UsageError(f"{path} is not a complete safetensors file: {error}") from error
