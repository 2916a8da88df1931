"""Record the packaged model's digest and answers: ``python -m tests.lab.record``, run once when a model is frozen."""

import json
from pathlib import Path

from harness_lab.lab_model import LabModel, folder
from harness_lab.pretraining.mix import fill, prompts
from harness_lab.world.squad import asked_pages

from harness.api import Request, State
from harness.models.checkpoint import find_checkpoint
from harness.models.hf_settings import HfSettings
from tests.lab.fakes import NoAdapters


def main() -> None:
    model = LabModel(HfSettings(device="cpu"), NoAdapters())
    one, other = asked_pages("validation", 2, 1)
    texts = {"title": one.page.title, "text": one.page.text}
    asked = [fill(prompts()["open"], **texts, question=a.question) for a in one.asked[:4]]
    asked += [fill(prompts()["closed"], title=other.page.title, question=a.question) for a in other.asked[:2]]
    asked += [fill(prompts()[key], **texts) for key in ("implications", "self-qa", "no-prompt")]
    asked.append("A prompt in plain English, of which the tokenizer knows hardly a word.\n")
    found = model.generate([Request(State(model.base), prompt, max_tokens=48) for prompt in asked])
    answers = [{"prompt": prompt, "answer": done.text} for prompt, (done,) in zip(asked, found, strict=True)]
    content = {"digest": find_checkpoint(str(folder())).digest(), "answers": answers}
    path = Path(__file__).parent / "recorded.json"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
