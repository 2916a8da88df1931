"""What the lab's tests need of a session."""


class NoAdapters:
    """An empty weight store."""

    def adapter(self, digest: str) -> None:
        raise KeyError(digest)
