"""The settings of the backend ``vllm``."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass, field

from harness.errors import UsageError
from harness.models.hf_settings import HfSettings


@dataclass(frozen=True)
class VllmSettings(HfSettings):
    """Those of ``hf`` for the model in this process, and how the server is reached."""

    endpoint: str = field(default="http://127.0.0.1:8000", metadata={"changes_scores": False})
    """The server's address, without ``/v1``."""
    adapters: str = field(default="", metadata={"changes_scores": False})
    """A folder that the server sees under the same path, for the adapters it is to load; "" is a temporary one."""
    concurrency: int = field(default=64, metadata={"changes_scores": False})
    """The most requests in flight at once."""
    retries: int = field(default=5, metadata={"changes_scores": False})
    """Attempts after the first, with a back-off that begins at one second."""
    timeout: float = field(default=600.0, metadata={"changes_scores": False})
    """Seconds for one attempt, from its start to the last byte of its answer."""

    def __post_init__(self) -> None:
        """Raises :class:`UsageError` for an address that is none, and for limits that are not positive."""
        try:
            url = urllib.parse.urlsplit(self.endpoint)
        except ValueError:
            url = urllib.parse.SplitResult("", "", "", "", "")
        if url.scheme not in ("http", "https") or not url.netloc or "@" in url.netloc or url.query or url.fragment:
            raise UsageError(f"model vllm: endpoint is {self.endpoint!r}, not an address such as http://127.0.0.1:8000")
        for name in ("concurrency", "timeout"):
            if getattr(self, name) <= 0:
                raise UsageError(f"model vllm: {name} must be positive, not {getattr(self, name)}")

    @property
    def root(self) -> str:
        """The server's address without ``/v1`` and without a slash at its end."""
        return self.endpoint.rstrip("/").removesuffix("/v1").rstrip("/")
