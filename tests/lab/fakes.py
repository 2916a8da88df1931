"""What the lab's tests need of a session."""


class NoAdapters:
    """A weight store in which nothing is."""

    def adapter(self, digest: str) -> None:
        raise KeyError(digest)
