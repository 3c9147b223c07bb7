"""What the Arena page is told: two texts before the last vote, a verdict in words after it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from engine.evaluation.preference import Fluency, Tally, judge
from engine.services.arena import MatchView
from ui.i18n import translator
from ui.view_arena import figures_view, match_view, outcome_text, reasons, result_view, verdict_of

SOUND = Fluency(12.0, 0.0, 0.02)
ODD = Fluency(12.0, 0.3, 0.02)


def result(votes: Tally, candidate: Fluency = SOUND) -> dict[str, Any]:
    """A judged test, as the service gives it."""
    return {
        "wins": votes.wins,
        "losses": votes.losses,
        "ties": votes.ties + votes.bad,
        "win_rate": votes.win_rate,
        "interval": list(votes.interval),
        "gate": judge(votes, votes.votes, candidate, SOUND).as_json(),
        "automatic": {"candidate": {"words": 10.0}, "current": {"words": 20.0}},
        "worst": [{"prompt": "Say hello", "candidate": "<script>x</script>", "current": "**Hello**"}],
    }


def test_a_match_is_two_texts_and_nothing_else() -> None:
    shown = match_view(MatchView("m", "Say hello", ({"role": "user", "content": "Hi"},), "**A**", "<b>B</b>", 3, 27))
    assert shown is not None
    assert set(shown) == {"id", "context", "prompt", "left", "right"}
    assert "<strong>A</strong>" in shown["left"] and "<b>" not in shown["right"]
    assert match_view(MatchView(None)) is None


@pytest.mark.parametrize(
    ("votes", "candidate", "verdict"),
    [
        (Tally(24, 4, 2), SOUND, "better"),
        (Tally(24, 4, 2), ODD, "unsound"),
        (Tally(16, 12, 2), SOUND, "unproven"),
        (Tally(4, 24, 1, 1), SOUND, "worse"),
    ],
)
def test_each_outcome_has_its_verdict_and_words(votes: Tally, candidate: Fluency, verdict: str) -> None:
    judged = result(votes, candidate)
    assert verdict_of(judged) == verdict
    for language in ("en", "zh"):
        t = translator(language)
        assert str(votes.wins) in outcome_text(judged, t)
        view = json.loads(json.dumps(result_view(judged, t)))
        assert view["pass"] == (verdict == "better") and bool(view["reasons"]) == (verdict == "unsound")
        assert view["votes"] == 30 and not any(text.startswith("error.") for text in view["reasons"])
        keys = [f"arena.verdict.{verdict}", f"arena.words.{verdict}"]
        assert not [key for key in keys if t(key) == key]
        assert "<script>" not in view["worst"][0]["new"]


def test_reasons_are_said_in_the_pages_language() -> None:
    gate = judge(Tally(10, 20), 30, SOUND, SOUND).as_json()
    assert reasons(gate, translator("en")) == gate["reasons"]
    chinese = reasons(gate, translator("zh"))
    assert len(chinese) == len(gate["reasons"]) and all(any("\u4e00" <= c <= "\u9fff" for c in text) for text in chinese)


def test_figures_name_the_better_side_only_where_there_is_one() -> None:
    rows = figures_view(
        {
            "candidate": {"taste": 0.8, "perplexity": 10.0, "words": 12.0, "distinct_2": 0.5, "odd_share": 0.0, "bleu": None},
            "current": {"taste": 0.4, "perplexity": 10.1, "words": 40.0, "distinct_2": 0.9, "odd_share": 0.0, "bleu": None},
        }
    )
    better = {row["name"]: row["better"] for row in rows}
    assert better == {"taste": "new", "perplexity": "", "words": "", "distinct_2": "", "odd_share": ""}
    assert next(row for row in rows if row["name"] == "distinct_2")["new"] == 50


def test_figures_without_votes_are_not_called_a_verdict() -> None:
    shown = result_view({"wins": None, "gate": {"pass": None, "reasons": []}, "automatic": {}, "worst": []}, translator("en"))
    assert shown["is_blind"] is False and shown["verdict"] == "" and shown["reasons"] == []


def test_an_adapter_says_where_it_comes_from() -> None:
    from datetime import UTC, datetime

    from ui.view_arena import Versions, version_view

    record = SimpleNamespace(
        id="a", name="Short", task="text", base_model_id="m", created_at=datetime.now(UTC), method="dpo", size_bytes=1,
        dataset_id="d", run_id="r", marks=("x",),
    )  # fmt: skip
    view: Any = SimpleNamespace(record=record, state="candidate", result=None, evaluation_id=None)
    t = translator("en")
    versions = Versions({"a": "Short"}, {"m": "Model"}, t)
    dataset: Any = SimpleNamespace(counts={"train": 46})
    shown = version_view(view, versions, {"d": dataset}, t)
    assert (shown["base"], shown["examples"], shown["run"], shown["marks"], shown["result"]) == ("Model", 46, "r", 1, None)
    begun: Any = SimpleNamespace(**{**vars(view), "result": {"votes": 4, "needed": 30, "automatic": None}, "evaluation_id": "e"})
    assert version_view(begun, versions, {}, t)["under_way"] == "4 of 30 votes" and shown["under_way"] == ""
    assert versions.name("gone") == t("arena.removed") and versions.name("base") == t("arena.base_name")
