"""Shows a playbook before a question: what a method wrote into :attr:`harness.api.State.memory` to be read first."""

from __future__ import annotations

from harness.api import JSON, Prompt

KEY = "playbook"
"""The key in memory; its value is a table whose ``text`` is shown."""


def with_playbook(prompt: Prompt, memory: JSON) -> Prompt:
    """The prompt after the playbook's text: before raw text, or in the system turn of a conversation, which is made if
    there is none. Unchanged where there is no playbook, or an empty one."""
    text = str(memory[KEY]["text"]) if KEY in memory else ""
    if not text:
        return prompt
    if isinstance(prompt, str):
        return f"{text}\n\n{prompt}"
    system = "\n\n".join(said for role, said in prompt[:1] if role == "system")
    rest = prompt[1:] if system else prompt
    return (("system", "\n\n".join(filter(None, (system, text)))), *rest)
