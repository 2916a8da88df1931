"""A page opened from disk in a real Chromium, with name look-ups made to fail."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NO_BROWSER = "no Chromium on this machine: install the distribution's package"


def visit(page: Path, script: str = "return {}", *, width: int = 1400, fragment: str = "") -> dict[str, Any]:
    """Open a page, run the body of an async function in it when it is ready, and answer what it returns."""
    run = (
        "<script>(async () => { while (!document.body.dataset.ready) await new Promise((r) => setTimeout(r, 20));"
        f"const seen = await (async () => {{ {script} }})(); const out = document.createElement('pre');"
        "out.id = 'seen'; out.textContent = JSON.stringify(seen); document.body.append(out); })();</script></html>"
    )
    copy = page.with_name(f"visited-{page.name}")
    copy.write_text(page.read_text(encoding="utf-8").replace("</html>", run), encoding="utf-8")
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        f"--window-size={width},1000", f"--user-data-dir={page.parent / 'profile'}",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=60000", "--dump-dom",
        copy.as_uri() + fragment,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None, done.stderr[-2000:]
    seen: dict[str, Any] = json.loads(html.unescape(found.group(1)))
    return seen
