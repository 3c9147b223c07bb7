"""The figures of a summary as the page shows them: closeness to a reference, coverage, compression, support.

Knows texts and judged sentences; knows no model and no database.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import log

from engine.evaluation.metrics import bleu, rouge
from engine.summary.document import count_words
from engine.summary.extractive import Text
from engine.summary.sentences import sentence_spans
from engine.summary.support import JudgedSentence
from engine.summary.terms import terms


def scores_of(
    summary: str, documents: Sequence[Text], sentences: Sequence[JudgedSentence], *, reference: str = ""
) -> dict[str, float | int | None]:
    """All figures by name.

    With a reference: `rouge_1`, `rouge_2`, `rouge_l` (F, 0 … 1, on words; Chinese on characters) and `bleu` (0 … 100), None
    without. `coverage`: how much of what the documents say more than once the summary mentions, 0 … 1. `compression`: the
    summary's words as a share of the documents'. `support`: share of sentences found in the documents, None without sentences.
    `words`: of the summary (Chinese: characters).
    """
    found: dict[str, float | int | None] = {"rouge_1": None, "rouge_2": None, "rouge_l": None, "bleu": None}
    if reference.strip():
        found |= rouge(summary, [reference])
        found["bleu"] = bleu(summary, [reference])
    words, read = count_words(summary), sum(count_words(one.text) for one in documents)
    found["coverage"] = coverage(summary, documents)
    found["compression"] = words / read if read else None
    found["support"] = sum(one.supported for one in sentences) / len(sentences) if sentences else None
    found["words"] = words
    return found


def coverage(summary: str, documents: Sequence[Text]) -> float:
    """Share of the terms that more than one sentence of the documents holds, by how many hold them, that the summary holds too.

    0 for documents that repeat nothing and for an empty summary.
    """
    counts: Counter[str] = Counter()
    for one in documents:
        for start, end in sentence_spans(one.text):
            counts.update(set(terms(one.text[start:end], one.language)))
    worth = {term: log(count) for term, count in counts.items() if count > 1}
    said = {term for one in documents[:1] for term in terms(summary, one.language)}
    total = sum(worth.values())
    return sum(worth[term] for term in said & worth.keys()) / total if total else 0.0
