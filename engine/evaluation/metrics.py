"""Automatic figures of answers: length, repetition, odd letters, diversity, perplexity, closeness to liked answers.

Knows texts and log-probabilities; knows no model, no database and no vote. Words of languages without spaces are their
characters, so that every figure means the same in Chinese.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

NO_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
"""Scripts whose words are not set apart."""
_WORD = re.compile(r"\w+(?:['’]\w+)*")
_ODD_CATEGORIES = frozenset({"Cc", "Cn", "Co", "Cs"})
"""Control characters, unassigned ones, private use, lone surrogates."""
_PLAIN = frozenset("\n\r\t")
_COMMON_SCRIPTS = frozenset({"LATIN"})
"""Names and loan words make it at home everywhere."""
_REPEAT_N = 4


def words(text: str) -> list[str]:
    """Lower-case words; each character is one in scripts without spaces."""
    found: list[str] = []
    for match in _WORD.finditer(text.casefold()):
        run = ""
        for character in match.group():
            if script(character) in NO_SPACES:
                found += [run] if run else []
                found.append(character)
                run = ""
            else:
                run += character
        found += [run] if run else []
    return found


@lru_cache(maxsize=4096)
def script(character: str) -> str:
    """The script of a letter, as the first word of its Unicode name ("LATIN", "CYRILLIC", "CJK"); "" for what is no letter."""
    if not unicodedata.category(character).startswith("L"):
        return ""
    name = unicodedata.name(character, "UNNAMED")
    first = name.split(" ", 1)[0].split("-", 1)[0]
    return "LATIN" if first in ("FULLWIDTH", "FEMININE", "MASCULINE", "MODIFIER") else first


def odd_share(answer: str, *expected: str) -> float:
    """Share of characters that have no business here, 0 … 1: letters of scripts that `expected` (the prompt and what goes with
    it) does not use, replacement and private characters, controls. Latin letters are at home everywhere. 0 for an empty one.
    """
    if not answer:
        return 0.0
    home = _COMMON_SCRIPTS | {script(character) for text in expected for character in set(text)}
    return sum(count for character, count in Counter(answer).items() if _is_odd(character, home)) / len(answer)


def _is_odd(character: str, home: frozenset[str]) -> bool:
    if character in _PLAIN:
        return False
    if character == "\ufffd" or unicodedata.category(character) in _ODD_CATEGORIES:
        return True
    return script(character) not in home | {""}


def repetition(text: str) -> float:
    """Share of sequences of four words that were there before in the text, 0 … 1."""
    said = words(text)
    return 1.0 - _distinct([said], _REPEAT_N) if len(said) >= _REPEAT_N else 0.0


def distinct_n(texts: Iterable[str], n: int) -> float:
    """Different word sequences of length `n` for each one there is in all texts together, 0 … 1; 1 when there is none.

    Li et al., "A Diversity-Promoting Objective Function for Neural Conversation Models", NAACL 2016.
    """
    return _distinct([words(text) for text in texts], n)


def _distinct(said: Sequence[Sequence[str]], n: int) -> float:
    grams = [tuple(text[start : start + n]) for text in said for start in range(len(text) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0


def perplexity(logprobs: Sequence[float]) -> float | None:
    """exp of the mean surprise of natural log-probabilities; None for no token."""
    return math.exp(-sum(logprobs) / len(logprobs)) if logprobs else None


def shared_surprise(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, int]:
    """Surprise (negative log-probability) of two answers over as many tokens as the shorter one has, and that number.

    The first words of any answer surprise most; without this a short answer would look less fluent than a long one.
    """
    tokens = min(len(first), len(second))
    return -sum(first[:tokens]), -sum(second[:tokens]), tokens


def bleu(answer: str, references: Sequence[str]) -> float:
    """Sentence BLEU (sacrebleu, smoothed) against all references together, 0 … 100; Chinese is cut into characters."""
    from sacrebleu.metrics.bleu import BLEU

    tokenize = "zh" if any(script(character) in NO_SPACES for text in references for character in text) else "13a"
    return float(BLEU(effective_order=True, tokenize=tokenize).sentence_score(answer, list(references)).score)


def rouge_l(answer: str, references: Sequence[str]) -> float:
    """F of the longest common subsequence of words (rouge-score) with the closest reference, 0 … 1."""
    return rouge(answer, references)["rouge_l"]


def rouge(answer: str, references: Sequence[str]) -> dict[str, float]:
    """`rouge_1`, `rouge_2` and `rouge_l` (rouge-score, F, 0 … 1), each with the reference it is closest to.

    Words without stemming; in scripts without spaces characters. Lin, "ROUGE: A Package for Automatic Evaluation of Summaries",
    ACL 2004.
    """
    from rouge_score.rouge_scorer import RougeScorer

    class Words:
        def tokenize(self, text: str) -> list[str]:
            return words(text)

    kinds = {"rouge1": "rouge_1", "rouge2": "rouge_2", "rougeL": "rouge_l"}
    scorer = RougeScorer(list(kinds), tokenizer=Words())
    found = [scorer.score(reference, answer) for reference in references]
    return {name: max((float(one[kind].fmeasure) for one in found), default=0.0) for kind, name in kinds.items()}


def answer_figures(
    answer: str, prompt: str, *, logprobs: Sequence[float] = (), liked: Sequence[str] = (), taste: float | None = None
) -> dict[str, Any]:
    """All figures of one answer, by name; those that cannot be had are left out.

    `logprobs` are the base model's for each token of the answer, `liked` what the rater liked for the same prompt.
    """
    figures: dict[str, Any] = {
        "words": len(words(answer)),
        "characters": len(answer),
        "odd_share": odd_share(answer, prompt, *liked),
        "repetition": repetition(answer),
    }
    if logprobs:
        figures |= {"perplexity": perplexity(logprobs), "tokens": len(logprobs)}
    if liked:
        figures |= {"bleu": bleu(answer, liked), "rouge_l": rouge_l(answer, liked)}
    return figures if taste is None else figures | {"taste": taste}


def mean_figures(figures: Sequence[Mapping[str, Any]], answers: Sequence[str]) -> dict[str, float | None]:
    """The figures of one side over all its answers: means, but perplexity over all tokens and diversity over all texts."""
    names = ("words", "characters", "odd_share", "repetition", "bleu", "rouge_l", "taste")
    means: dict[str, float | None] = {}
    for name in names:
        values = [float(one[name]) for one in figures if one.get(name) is not None]
        means[name] = sum(values) / len(values) if values else None
    scored = [(math.log(one["perplexity"]), int(one["tokens"])) for one in figures if one.get("perplexity")]
    tokens = sum(count for _, count in scored)
    means["perplexity"] = math.exp(sum(surprise * count for surprise, count in scored) / tokens) if tokens else None
    means["distinct_2"] = distinct_n(answers, 2)
    return means
