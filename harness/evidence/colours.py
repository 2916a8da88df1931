"""One colour per method, the same on every page: it follows from the name, and not from who else is shown."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

HUES = (255, 45, 145, 310, 85, 200, 20, 280, 115, 345, 170, 230)
"""Degrees of the colour wheel (OKLCH), each as a strong and as a soft colour: :data:`COUNT` colours in all."""
COUNT = 2 * len(HUES)
_SALT = "57352"
"""Chosen so that the six methods of the usual table are well apart."""


def places(methods: Iterable[str]) -> dict[str, int]:
    """Method -> its place among the colours. Where two methods of a page fall on one, the later by name moves on."""
    out: dict[str, int] = {}
    taken: set[int] = set()
    for method in sorted(set(methods)):
        place = int(hashlib.sha256(f"{_SALT}/{method}".encode()).hexdigest(), 16) % COUNT
        while place in taken and len(taken) < COUNT:
            place = (place + 1) % COUNT
        taken.add(place)
        out[method] = place
    return out


def css() -> str:
    """The colours as custom properties ``--c0`` and so on, for both schemes."""
    light = " ".join(f"--c{at}: {_colour(at, dark=False)};" for at in range(COUNT))
    dark = " ".join(f"--c{at}: {_colour(at, dark=True)};" for at in range(COUNT))
    return f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"


def _colour(place: int, *, dark: bool) -> str:
    hue, soft = HUES[place % len(HUES)], place >= len(HUES)
    lightness = (82 if soft else 72) if dark else (66 if soft else 50)
    return f"oklch({lightness}% {0.10 if soft else 0.16} {hue})"
