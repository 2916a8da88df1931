"""The parts of a published file that are read, as types: a file without them is refused, and the field named."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0, le=100_000)]
"""A number of repetitions, passages or sequences; a larger one is damage, and would exhaust memory."""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)


class QuestionRow(_Part):
    rep: int
    question: str
    answer: str
    adapter_answer: str | None
    baseline_answer: str | None
    adapter_correct: Any
    baseline_correct: Any
    """Verdicts are checked where they are read, so that the error can name the place."""


class ProxyScore(_Part):
    final: float


class CompletionRows(_Part):
    questions: list[QuestionRow]
    proxy_scores: Annotated[list[ProxyScore], Field(min_length=1)] | None = None


class Article(_Part):
    title: str
    context: str
    completions: list[CompletionRows]


class _Log(_Part):
    reward_mode: str | None = None
    lora_params: dict[str, Any] | None = None
    overall: dict[str, Any] | None = None


class Scored(_Log):
    """``articles[].completions[].questions[]``."""

    articles: list[Article]
    eval_times: Count | None = None


class ParallelLists(_Part):
    adapter_texts: list[str | None] | None = None
    adapter_correct: list[Any] | None = None
    baseline_texts: list[str | None] | None = None
    baseline_correct: list[Any] | None = None


class ArticleLists(_Part):
    adapter_correct: list[Any]


class Parallel(_Log):
    """``server_reply`` or ``per_question``: parallel lists in the order in which the questions were asked."""

    server_reply: ParallelLists | None = None
    per_question: ParallelLists | None = None
    per_article: dict[str, ArticleLists] = Field(default_factory=dict)
    n_articles: Count
    eval_questions: int | None = None
    model: str | None = None
    args: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None


class Collapsed(_Log):
    """``per_article`` alone."""

    per_article: dict[str, ArticleLists]
    eval_questions: int | None = None
    model: str | None = None


class RetentionFile(_Part):
    """Matrices of accuracies, and the number of sequences over which they are means."""

    mean_over_sequences: list[list[Annotated[float, Field(ge=0, le=1)]]]
    std_over_sequences: list[list[Annotated[float, Field(ge=0)]]]
    n_sequences: Annotated[Count, Field(ge=1)]
    base_model: str = ""
