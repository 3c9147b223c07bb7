"""How well the studio learns hidden rules, and how often chance alone would promote.

    python -m bench.learning [--rater FILE ...] [--prompts FILE] [--preset balanced] [--random 3] [--keep FOLDER]

Without --rater: all rules of bench/learning/raters. A prompt file is JSON: {"rate": [60 prompts], "test": [40 others]}. The
candidates that all raters choose from are written once; each rater then has a studio of its own with a copy of them.
Everything goes through the API of docs/api.md. `--keep` keeps all studios, figures and every answer that was compared (read
them too), and a bench that broke off goes on from there.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from gradio_client import Client

from bench.learning.loop import Candidates, Outcome, whole_loop, write_candidates
from bench.learning.rater import RATERS_DIR, Rater, load_rater, random_rater
from engine.evaluation.preference import Fluency, Side, judge, tally
from tests.browser.studio import RunningStudio
from tests.starter import starter_models

SIDES: tuple[Side, ...] = ("win", "loss")
PROMPTS = Path(__file__).parent / "prompts.json"
SOUND = Fluency(perplexity=None, odd_share=0.0, repetition=0.0)
"""Nothing to object to: the votes alone decide, so that the share is an upper bound."""
SEQUENCES = 1000
"""Random vote sequences for each adapter that was trained on random ratings."""


def prepared(folder: Path, models: Path, prompts: Sequence[str], max_new_tokens: int) -> list[Candidates]:
    """The candidates in `folder`/written, made now unless they are there already."""
    known = folder / "candidates.json"
    if known.is_file():
        made = [Candidates(**row) for row in json.loads(known.read_text(encoding="utf-8"))]
        if [row.prompt for row in made] == list(prompts):
            return made
        raise SystemExit(f"{known} is of other prompts; give another --keep folder")
    with RunningStudio(folder / "written", models) as studio:
        made = write_candidates(Client(studio.url, verbose=False), prompts, max_new_tokens)
    known.write_text(json.dumps([asdict(row) for row in made], ensure_ascii=False, indent=1), encoding="utf-8")
    return made


def round_of(
    rater: Rater, folder: Path, models: Path, candidates: Sequence[Candidates], prompts: Sequence[str], preset: str
) -> Outcome:
    """One rater's whole loop in a studio of its own, unless `folder` has its outcome already."""
    known, home = folder / f"rater-{rater.name}.json", folder / f"rater-{rater.name}"
    if known.is_file():
        outcome = Outcome(**json.loads(known.read_text(encoding="utf-8")))
    else:
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(folder / "written", home)
        with RunningStudio(home, models) as studio:
            outcome = whole_loop(Client(studio.url, verbose=False), rater, candidates, prompts, preset)
        known.write_text(json.dumps(asdict(outcome), ensure_ascii=False, indent=1), encoding="utf-8")
    print(line(outcome), flush=True)
    return outcome


def line(outcome: Outcome) -> str:
    """One rater in one line."""
    result, figures = outcome.result, outcome.metrics
    low, high = result["interval"]
    change = figures.get("perplexity_growth")
    quality = "" if change is None else f", neutral perplexity {change:+.1%}"
    mark = " (dev)" if outcome.is_dev else ""
    gate = "passed" if result["gate"]["pass"] else "not passed"
    return (
        f"{outcome.rater + mark:<22} {outcome.kind:<14} {outcome.picks} picks, won {result['win_rate']:.1%} "
        f"[{low:.0%}, {high:.0%}] of {len(outcome.matches)}, gate {gate}{quality}, "
        f"training {outcome.train_s:.0f} s, whole loop {outcome.loop_s:.0f} s"
    )


def chance(outcomes: Sequence[Outcome], sequences: int = SEQUENCES) -> float:
    """Share of random vote sequences that the gate would promote, over adapters trained on random ratings."""
    draw = random.Random(0)
    passed = total = 0
    for outcome in outcomes:
        n = len(outcome.matches)
        for _ in range(sequences):
            votes = [draw.choice(SIDES) for _ in range(n)]
            passed += bool(judge(tally(votes), n, SOUND, SOUND).passed)
            total += 1
    return passed / total


def summary(outcomes: Sequence[Outcome]) -> str:
    """Mean and worst win rates, rules used for tuning apart."""
    lines = []
    for name, chosen in (("all rules", outcomes), ("not used for tuning", [o for o in outcomes if not o.is_dev])):
        if chosen:
            rates = [outcome.result["win_rate"] for outcome in chosen]
            worst = min(chosen, key=lambda outcome: float(outcome.result["win_rate"]))
            loop_s = statistics.median(outcome.loop_s for outcome in chosen)
            lines.append(
                f"{name} ({len(chosen)}): mean {statistics.mean(rates):.1%}, worst {min(rates):.1%} ({worst.rater}), "
                f"median loop {loop_s:.0f} s"
            )
    return "\n".join(lines)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description="does it learn hidden rules?")
    parser.add_argument("--rater", type=Path, action="append", help="a plug-in file; may be given several times")
    parser.add_argument("--prompts", type=Path, default=PROMPTS)
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--random", type=int, default=0, help="also this many raters who pick blindly")
    parser.add_argument("--max-new-tokens", type=int, default=80)
    parser.add_argument("--keep", type=Path, help="folder for candidates, studios, figures and answers")
    asked = parser.parse_args()
    prompts: dict[str, list[str]] = json.loads(asked.prompts.read_text(encoding="utf-8"))
    paths = asked.rater or sorted(RATERS_DIR.glob("*.py"))
    raters = [load_rater(path) for path in paths]
    blind = [random_rater(f"random-{number + 1}") for number in range(asked.random)]
    models = starter_models()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        candidates = prepared(folder, models, prompts["rate"], asked.max_new_tokens)
        for rater in (*raters, *blind):
            outcomes.append(round_of(rater, folder, models, candidates, prompts["test"], asked.preset))
    known = [outcome for outcome in outcomes if outcome.kind != "random"]
    if known:
        print(summary(known))
    if blind:
        print(f"random raters: the gate would promote {chance(outcomes[len(known) :]):.2%} of random vote sequences")


if __name__ == "__main__":
    main()
