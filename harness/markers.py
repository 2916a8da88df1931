"""The marker of hook implementations, apart from everything else so that a plugin's import stays light."""

from __future__ import annotations

import pluggy

hookimpl = pluggy.HookimplMarker("harness")
