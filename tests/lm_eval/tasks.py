"""Small lm-eval tasks on local data, as a user would write them: compared choices, a last word, a written answer."""

from __future__ import annotations

import json
from pathlib import Path

_DOCUMENTS = [
    {"question": f"Who built the {what} at Kemble Point?", "choices": ["Ada Marsh", "the storm", "Answer"],
     "label": place % 3, "answer": "Ada Marsh"}
    for place, what in enumerate(
        ["lighthouse", "tower", "list", "passage", "point", "content", *(f"house {number}" for number in range(44))]
    )
]  # fmt: skip

CHOICES = """
task: small_choices
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{{{question}}}} Answer: "
doc_to_choice: "{{{{choices}}}}"
doc_to_target: label
metric_list:
  - {{metric: acc}}
  - {{metric: acc_norm}}
"""
LAST_WORD = """
task: small_last_word
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: loglikelihood
doc_to_text: "Question: {{{{question}}}} Answer:"
doc_to_target: " {{{{answer}}}}"
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: perplexity, aggregation: perplexity, higher_is_better: false}}
"""
WRITTEN = """
task: small_written
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "Question: {{{{question}}}} Answer:"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 8, do_sample: false}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
"""
PYTHON = """
def scored(doc, results):
    [(logprob, greedy)] = results
    return {"acc": float(greedy), "doubled": 2.0 * greedy}

SMALL = {"task": "small_python", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "DATA"}},
         "test_split": "test", "output_type": "loglikelihood", "doc_to_text": "{{question}}",
         "doc_to_target": " {{answer}}", "process_results": scored,
         "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True},
                         {"metric": "doubled", "aggregation": "mean", "higher_is_better": True}]}
"""


def write(folder: Path, yaml: str, name: str = "small", documents: int = 6) -> Path:
    """The task's file, with its data beside it."""
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(one) + "\n" for one in _DOCUMENTS[:documents]))
    path = folder / f"{name}.yaml"
    path.write_text(yaml.format(data=data))
    return path
