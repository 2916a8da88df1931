"""Small logs of the published layouts, made here so that bad input can be tried without the real files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

GOLDS = ("red", "green", "blue", "white", "black", "grey")


def passages(count: int = 6) -> list[dict[str, Any]]:
    return [
        {
            "title": f"T{c % 2}",
            "context": f"Passage number {c}.",
            "questions": [{"question": f"Which colour, {c}.{q}?", "answer": GOLDS[(c + q) % 6]} for q in range(2)],
        }
        for c in range(count)
    ]


def scored(repetitions: int = 1, candidates: int = 1) -> dict[str, Any]:
    """Adapter answers are right for even passages; the baseline is always wrong."""
    articles = []
    for c, one in enumerate(passages()):
        rows = [
            {
                "rep": rep,
                "question": asked["question"],
                "answer": asked["answer"],
                "baseline_answer": "no idea",
                "adapter_answer": f"It is {asked['answer']}." if c % 2 == 0 else "no idea",
                "baseline_correct": False,
                "adapter_correct": c % 2 == 0,
            }
            for rep in range(repetitions)
            for asked in one["questions"]
        ]
        completions = [
            {"text": "a\nb", "stats": {}, "questions": [dict(row) for row in rows]} for _ in range(candidates)
        ]
        articles.append({"title": one["title"], "context": one["context"], "completions": completions, "prompt": "p"})
    return {
        "overall": {"adapter_mean_accuracy": 0.5},
        "dataset": "data/synthetic_data/eval/x.json",
        "n_articles": len(articles),
        "k_completions": candidates,
        "eval_times": repetitions,
        "lora_params": {"rank": 32},
        "split_newlines": True,
        "articles": articles,
    }


def pretraining(layout: str = "server_reply", asked: list[str] | None = None) -> dict[str, Any]:
    """All answers right; ``asked`` are the golds in the order of the rows."""
    golds = asked if asked is not None else [q["answer"] for one in passages() for q in one["questions"]]
    lists = {
        "baseline_texts": ["" for _ in golds],
        "baseline_correct": [False for _ in golds],
        "adapter_texts": [f"It is {gold}." for gold in golds],
        "adapter_correct": [True for _ in golds],
    }
    raw: dict[str, Any] = {
        "dataset": "data/synthetic_data/eval/x.json", "n_articles": 6, "k_completions": 5,
        "eval_questions": len(golds), layout: lists,
    }  # fmt: skip
    if layout == "server_reply":
        raw |= {"overall": {"adapter_accuracy": 1.0}, "lora_params": {"lr": 1e-3}}
        raw["per_article"] = {
            f"T{t}": {"baseline_correct": [False] * 2, "adapter_correct": [True] * 2} for t in range(2)
        }
    else:
        raw |= {"metrics": {"adapter_accuracy": 1.0}, "args": {"lr": 7e-5}, "model": "Qwen/Qwen2.5-7B"}
    return raw


def save(path: Path, raw: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(raw), encoding="utf-8")
    return path
