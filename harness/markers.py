"""The marker of hook implementations, in a module of its own so that importing a plugin stays cheap."""

from __future__ import annotations

import pluggy

hookimpl = pluggy.HookimplMarker("harness")
