"""Summaries and their checks: `python -m bench.summary [--split dev|test] [--only extractive|support|time]`.

Extractive: every system fills the budget of the reference, within 10 %; mean ROUGE F with the reference (words; Chinese:
characters), English and Chinese apart, and how far ours is above the best other. Support: how many altered claims are doubted, by
what was altered, and how many true ones and sentences of references; the same of what a model wrote. Time: 50,000 words. Tune on
dev; test is for the figure.
"""

from __future__ import annotations

import argparse
import time
from statistics import fmean
from typing import Literal

import torch

from bench.summary.evaluation_set import Example, examples, model_sentences, starter_encode
from bench.summary.systems import systems
from engine.evaluation.metrics import rouge
from engine.summary.document import count_words
from engine.summary.extractive import Encode, Length, extract, remembering
from engine.summary.support import Author, judge

KINDS = ("rouge_1", "rouge_2", "rouge_l")
CHANGES = ("name", "number", "negation", "cause", "invented")
LONG_WORDS = 50_000


def compare(split: Literal["dev", "test"], language: str) -> None:
    """Print the table of one language."""
    found = examples(split, language)
    print(f"{language} {split}, {len(found)} documents{'':20}ROUGE-1  ROUGE-2  ROUGE-L   within 10 %")
    means: dict[str, list[float]] = {}
    for name, system in systems().items():
        rows, fits = [], 0
        for one in found:
            budget = count_words(one.reference)
            summary = system(one, budget)
            rows.append(rouge(summary, [one.reference]))
            fits += 0.9 * budget <= count_words(summary) <= 1.1 * budget
        means[name] = [100 * fmean(row[kind] for row in rows) for kind in KINDS]
        print(f"  {name:38}" + "".join(f"{value:9.2f}" for value in means[name]) + f"{fits:8} of {len(found)}", flush=True)
    best = [max(values[place] for name, values in means.items() if name != "ours") for place in range(len(KINDS))]
    print(f"  {'ours above the best other':38}" + "".join(f"{a / b - 1:+9.1%}" for a, b in zip(means["ours"], best, strict=True)))


def check(split: Literal["dev", "test"], language: str, encode: Encode) -> tuple[int, int, int]:
    """Print what is doubted in one language; returns (altered and doubted, true and doubted, altered and believed)."""
    doubted: dict[str, list[bool]] = {}
    for one in examples(split, language):
        said = [(claim.change or "true", claim.text) for claim in one.claims] + [("reference", one.reference)]
        for kind, text in said:
            for sentence in judge(text, [one], encode=encode):
                doubted.setdefault(kind, []).append(not sentence.supported)
    caught = sum(sum(doubted[change]) for change in CHANGES)
    missed = sum(len(doubted[change]) for change in CHANGES) - caught
    alarms = sum(doubted["true"])
    print(f"{language} {split}: {figures(caught, alarms, missed)}")
    for kind in (*CHANGES, "true", "reference"):
        print(f"  {kind:12}{fmean(doubted[kind]):6.0%} of {len(doubted[kind])} doubted")
    return caught, alarms, missed


def check_models(split: Literal["dev", "test"], encode: Encode) -> None:
    """Print what is doubted of what models wrote about the English documents, by author."""
    sources = {one.id: one for one in examples(split, "en")}
    said = [one for one in model_sentences(split) if one.supported is not None]
    for author in dict.fromkeys(one.author for one in said):
        doubted: dict[bool, list[bool]] = {True: [], False: []}
        for one in said:
            if one.author == author:
                (found,) = judge(one.text, [sources[one.document_id]], encode=encode, author=Author(author, one.text))
                doubted[bool(one.supported)].append(not found.supported)
        caught, alarms = sum(doubted[False]), sum(doubted[True])
        print(f"{author} {split}: {figures(caught, alarms, len(doubted[False]) - caught)}")
        for kind, is_true in (("invented", False), ("true", True)):
            print(f"  {kind:12}{fmean(doubted[is_true]):6.0%} of {len(doubted[is_true])} doubted")


def figures(caught: int, alarms: int, missed: int) -> str:
    """Precision, recall and F1 of "has no support"."""
    precision, recall = caught / max(1, caught + alarms), caught / (caught + missed)
    return f"precision {precision:.3f}, recall {recall:.3f}, F1 {2 * precision * recall / max(1e-9, precision + recall):.3f}"


def measure_time(encode: Encode) -> None:
    """Print the seconds for a document of 50,000 words, made of all English documents in turn."""
    texts = [one.text for split in ("dev", "test") for one in examples(split, "en")]
    text = ""
    while count_words(text) < LONG_WORDS:
        text += "\n\n".join(texts) + "\n\n"
    long = Example("long", "en", "", "", text, "", ())
    start_s, start_cpu_s = time.monotonic(), time.process_time()
    picks = extract([long], Length(words=300))
    summary = " ".join(text[one.start : one.end] for one in picks)
    print(f"{count_words(text)} words, extractive: {spent(start_s, start_cpu_s)}")
    start_s, start_cpu_s = time.monotonic(), time.process_time()
    judge(summary, [long], encode=encode)
    print(f"its check: {spent(start_s, start_cpu_s)}")


def spent(start_s: float, start_cpu_s: float) -> str:
    """Time since then, on the wall and of this process."""
    return f"{time.monotonic() - start_s:.1f} s, {time.process_time() - start_cpu_s:.1f} s of them computing"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    parser.add_argument("--only", choices=("extractive", "support", "time"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    fresh = starter_encode()
    encode = remembering(fresh)
    if arguments.only in (None, "extractive"):
        for language in ("en", "zh"):
            compare(arguments.split, language)
    if arguments.only in (None, "support"):
        counts = [check(arguments.split, language, encode) for language in ("en", "zh")]
        print(f"both: {figures(*(sum(column) for column in zip(*counts, strict=True)))}")
        check_models(arguments.split, encode)
    if arguments.only in (None, "time"):
        measure_time(fresh)


if __name__ == "__main__":
    main()
