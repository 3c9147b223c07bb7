"""The summarisers that are compared: the first sentences, sumy's, and ours, each filling the same budget.

sumy's tokenizer would need a download; it gets our sentences and words through its own interfaces, and its ranking of all
sentences is filled up exactly as the first sentences are. Knows no reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from sumy.models.dom import ObjectDocumentModel, Paragraph, Sentence
from sumy.nlp.stemmers import Stemmer, null_stemmer
from sumy.summarizers.lex_rank import LexRankSummarizer
from sumy.summarizers.lsa import LsaSummarizer
from sumy.summarizers.text_rank import TextRankSummarizer
from sumy.utils import get_stop_words

from bench.summary.evaluation_set import Example
from engine.evaluation.metrics import words
from engine.summary.document import count_words
from engine.summary.extractive import Length, extract
from engine.summary.sentences import sentence_spans
from engine.summary.terms import terms

System: TypeAlias = Callable[[Example, int], str]
"""(document, budget in words or Chinese characters) → summary."""
SLACK = 0.1


def systems() -> dict[str, System]:
    """All of them by name; ours is last."""

    def ours(example: Example, budget: int) -> str:
        picks = extract([example], Length(words=budget))
        return joined([example.text[one.start : one.end] for one in picks], example.language)

    return {
        "lead": lambda example, budget: filled(example, range(len(sentences(example))), budget),
        "sumy LexRank": lambda example, budget: filled(example, ranking(LexRankSummarizer, example), budget),
        "sumy TextRank": lambda example, budget: filled(example, ranking(TextRankSummarizer, example), budget),
        "sumy LSA": lambda example, budget: filled(example, ranking(LsaSummarizer, example), budget),
        "ours": ours,
    }


def sentences(example: Example) -> list[str]:
    """All of the document."""
    return [example.text[start:end] for start, end in sentence_spans(example.text)]


def joined(chosen: Sequence[str], language: str) -> str:
    """One text."""
    return ("" if language == "zh" else " ").join(chosen)


def filled(example: Example, order: Sequence[int], budget: int) -> str:
    """The first sentences of a ranking that fit, until the budget is reached within SLACK, in the document's order."""
    said = sentences(example)
    chosen: list[int] = []
    used = 0
    for place in order:
        size = count_words(said[place])
        if size and used + size <= (1 + SLACK) * budget:
            chosen.append(place)
            used += size
        if used >= (1 - SLACK) * budget:
            break
    return joined([said[place] for place in sorted(chosen)], example.language)


class _Words:
    """What sumy asks of a tokenizer; Chinese words are pairs of characters."""

    def __init__(self, language: str) -> None:
        self._language = language

    def to_words(self, text: str) -> tuple[str, ...]:
        return tuple(terms(text, "zh") if self._language == "zh" else words(text))


def ranking(kind: Any, example: Example) -> list[int]:
    """Places of all sentences, best first, as one of sumy's summarisers rates them."""
    is_chinese = example.language == "zh"
    tokenizer = _Words(example.language)
    said = [Sentence(text, tokenizer) for text in sentences(example)]
    summarizer = kind(null_stemmer if is_chinese else Stemmer("english"))
    summarizer.stop_words = get_stop_words("chinese" if is_chinese else "english")
    found: list[int] = []

    def every(infos: Sequence[Any]) -> Sequence[Any]:  # sorted by rating, best first
        found.extend(info.order for info in infos)
        return infos

    summarizer(ObjectDocumentModel([Paragraph(said)]), every)
    return found
