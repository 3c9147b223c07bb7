"""Blind tests: nothing gives the sides away, the gate is judged once, and no answer stands under another model's name."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest

from engine.errors import BadFileError, BadOptionError, NotFoundError, TooLongError
from engine.services.evaluations import Standing, result_of, standing_of
from engine.text.model import GenerateRequest
from engine.types import EvaluateOptions
from storage.records import BASE, Choice, DatasetRow, VoteRecord
from tests.engine.services.arena_parts import (
    BASE_SHA256,
    ArenaStudio,
    FakeDatasets,
    arena_studio,
    for_adapter,
    make_adapter,
    speak,
    user,
)
from tests.engine.services.fakes import wait_for
from tests.engine.services.studio_parts import OWNER

CHOICES: tuple[Choice, ...] = get_args(Choice)
HELD_OUT = [f"Write a held-out line number {number}." for number in range(5)]


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[ArenaStudio]:
    with arena_studio(tmp_path, datasets=FakeDatasets([user(text) for text in HELD_OUT])) as parts:
        yield parts


def standing(arena: ArenaStudio, run_id: str) -> Standing:
    with arena.studio.database.read() as uow:
        return standing_of(uow, OWNER, OWNER, uow.jobs.get(OWNER, run_id))


def test_held_out_prompts_come_first_then_fresh_ones(arena: ArenaStudio) -> None:
    run_id = arena.evaluate(make_adapter(arena.studio).id)
    matches = arena.matches(run_id)
    assert [match.ordinal for match in matches] == list(range(30))
    assert [match.prompt for match in matches[:5]] == HELD_OUT
    assert [match.is_held_out for match in matches] == [True] * 5 + [False] * 25
    assert len({match.prompt for match in matches}) == 30


def test_both_sides_answer_the_same_messages_with_the_same_seed_in_one_batch(arena: ArenaStudio) -> None:
    adapter = make_adapter(arena.studio)
    arena.evaluate(adapter.id, n=6, seed=40)
    asked: dict[tuple[object, ...], list[str]] = {}
    for request in arena.model.requests:
        assert request.batched
        key = (request.messages, request.seeds, request.sampling)
        asked.setdefault(key, []).append(request.adapter.sha256 if request.adapter else BASE)
    assert len(asked) == 6
    assert all(sorted(sides) == sorted([BASE, adapter.sha256]) for sides in asked.values())
    assert {seeds for _, seeds, _ in asked} == {(seed,) for seed in range(40, 46)}


def test_each_answer_stands_under_the_weights_it_came_from(arena: ArenaStudio) -> None:
    adapter, other = make_adapter(arena.studio, "One"), make_adapter(arena.studio, "Two")
    for against, sha256, says in ((BASE, BASE_SHA256, "by-base"), (other.id, other.sha256, f"by-{other.sha256[:6]}")):
        for match in arena.matches(arena.evaluate(adapter.id, against=against, n=9)):
            sides = {
                match.left_adapter_id: (match.left_sha256, match.left_output),
                match.right_adapter_id: (match.right_sha256, match.right_output),
            }
            assert set(sides) == {adapter.id, against}
            assert sides[adapter.id][0] == adapter.sha256 and f"by-{adapter.sha256[:6]}" in sides[adapter.id][1]
            assert sides[against][0] == sha256 and says in sides[against][1]


@pytest.mark.parametrize("liar", ["candidate", "current", "silent"])
def test_an_answer_from_other_weights_ends_the_test(arena: ArenaStudio, liar: str) -> None:
    adapter = make_adapter(arena.studio)
    lies = {
        "candidate": lambda request: "base",
        "current": lambda request: adapter.sha256,
        "silent": lambda request: "",
    }
    arena.model.claims = lies[liar]
    run_id = arena.arena.evaluate(OWNER, adapter.id, EvaluateOptions(n=4))
    snapshot = arena.finish(run_id)
    assert (snapshot.status, snapshot.error_key) == ("failed", "error.other_weights")
    assert arena.matches(run_id) == ()


@pytest.mark.parametrize("n", [1, 7, 30])
def test_sides_are_balanced_and_differ_between_tests(arena: ArenaStudio, n: int) -> None:
    adapter = make_adapter(arena.studio)
    drawn = []
    for _ in range(4 if n == 30 else 1):
        found = standing(arena, arena.evaluate(adapter.id, n=n))
        sides = [found.is_left(match) for match in found.matches]
        assert abs(2 * sum(sides) - n) <= n % 2
        assert tuple(sides) == found.evaluation.candidate_is_left
        drawn.append(tuple(sides))
    assert len(set(drawn)) == len(drawn)


def test_what_a_rater_gets_tells_nothing(arena: ArenaStudio) -> None:
    """No id, hash, figure or number of the model's making is in it, and it has the same shape for both sides."""
    arena.model.script = lambda request, row: [f"An answer, {'short' if request.adapter else 'rather longer'}."]
    adapter = make_adapter(arena.studio, "Secret name")
    run_id = arena.evaluate(adapter.id, n=4)
    view = asdict(arena.shown(run_id))
    assert set(view) == {"match_id", "prompt", "context", "left", "right", "voted", "remaining", "is_done", "status"}
    said = json.dumps([view, arena.arena.result(OWNER, OWNER, run_id)["gate"], arena.studio.jobs.get(OWNER, run_id).result])
    for secret in (adapter.sha256, BASE_SHA256, "Secret name", '"base"', "figures", "words", "perplexity"):
        assert secret not in said
    result = arena.arena.result(OWNER, OWNER, run_id)
    assert all(result[name] is None for name in ("wins", "losses", "ties", "bad", "win_rate", "interval", "automatic"))
    assert result["worst"] == [] and result["gate"]["pass"] is None
    assert result["gate"]["reasons"] == ["Not enough votes yet: 0 of 4."]
    (listed,) = arena.arena.open_evaluations(OWNER, OWNER)
    assert (listed.votes, listed.needed, listed.is_judged) == (0, 4, False)


def test_nothing_comes_out_before_the_last_vote_and_nothing_changes_after_it(arena: ArenaStudio) -> None:
    adapter = make_adapter(arena.studio)
    run_id = arena.evaluate(adapter.id, n=8)
    choose = for_adapter(adapter)
    for number, match in enumerate(arena.matches(run_id)):
        assert arena.shown(run_id).match_id == match.id and arena.shown(run_id).remaining == 8 - number
        result = arena.arena.result(OWNER, OWNER, run_id)
        assert result["wins"] is None and result["gate"]["pass"] is None and result["automatic"] is None
        assert arena.arena.vote(OWNER, OWNER, match.id, choose(match)).remaining == 7 - number
    assert arena.shown(run_id).match_id is None and arena.shown(run_id).is_done
    result = arena.arena.result(OWNER, OWNER, run_id)
    assert (result["wins"], result["losses"], result["ties"], result["win_rate"]) == (8, 0, 0, 1.0)
    assert result["gate"] == {"pass": True, "votes": 8, "needed": 8, "reasons": [], "reason_keys": []}
    assert result["interval"][0] > 0.5 and result["worst"] == []
    assert result["automatic"]["candidate"]["words"] and result["automatic"]["held_out"] == 5
    last = arena.matches(run_id)[-1]
    assert arena.arena.vote(OWNER, OWNER, last.id, choose(last)).votes == 8  # the same click twice
    with pytest.raises(BadOptionError, match="judged"):
        arena.arena.vote(OWNER, OWNER, last.id, "bad")
    with pytest.raises(BadOptionError, match="judged"):
        arena.arena.undo(OWNER, OWNER, run_id)
    assert arena.arena.result(OWNER, OWNER, run_id) == result
    assert arena.arena.open_evaluations(OWNER, OWNER) == ()


def test_a_vote_keeps_the_hashes_of_what_was_compared(arena: ArenaStudio) -> None:
    run_id = arena.evaluate(make_adapter(arena.studio).id, n=3)
    arena.vote_all(run_id, lambda match: "left")
    found = standing(arena, run_id)
    for match in found.matches:
        vote = found.votes[match.id]
        assert (vote.left_sha256, vote.right_sha256) == (match.left_sha256, match.right_sha256)


def test_votes_can_be_replaced_and_taken_back_until_the_end(arena: ArenaStudio) -> None:
    adapter = make_adapter(arena.studio)
    run_id = arena.evaluate(adapter.id, n=3)
    first, second, third = arena.matches(run_id)
    with pytest.raises(BadOptionError, match="no vote"):
        arena.arena.undo(OWNER, OWNER, run_id)
    arena.arena.vote(OWNER, OWNER, first.id, "bad")
    assert arena.arena.vote(OWNER, OWNER, first.id, "tie").votes == 1
    arena.arena.vote(OWNER, OWNER, second.id, for_adapter(adapter)(second))
    view = arena.arena.undo(OWNER, OWNER, run_id)
    assert (view.match_id, view.voted, view.remaining) == (second.id, 1, 2)
    assert arena.shown(run_id).match_id == second.id
    assert arena.arena.undo(OWNER, OWNER, run_id).match_id == first.id
    for match, choice in ((first, "tie"), (second, "bad"), (third, for_adapter(adapter)(third))):
        arena.arena.vote(OWNER, OWNER, match.id, choice)
    result = arena.arena.result(OWNER, OWNER, run_id)
    assert (result["wins"], result["losses"], result["ties"], result["bad"], result["win_rate"]) == (1, 0, 2, 1, 2 / 3)


def test_a_test_can_be_voted_on_while_it_is_written_and_after_a_restart(tmp_path: Path) -> None:
    with arena_studio(tmp_path) as arena:
        arena.model.hold()
        adapter = make_adapter(arena.studio)
        run_id = arena.arena.evaluate(OWNER, adapter.id, EvaluateOptions(n=12))
        assert arena.shown(run_id).match_id is None and not arena.shown(run_id).is_done
        arena.model.release(200)
        wait_for(lambda: len(arena.matches(run_id)) >= 2)
        first = arena.shown(run_id)
        assert first.match_id is not None
        arena.arena.vote(OWNER, OWNER, first.match_id, "left")
    with arena_studio(tmp_path) as arena:
        kept = arena.matches(run_id)
        assert arena.studio.jobs.get(OWNER, run_id).status == "interrupted" and 2 <= len(kept) < 12
        assert arena.shown(run_id).voted == 1 and arena.shown(run_id).match_id != first.match_id
        assert arena.arena.resume(OWNER, run_id) == run_id
        assert arena.finish(run_id).status == "done"
        matches = arena.matches(run_id)
        assert matches[: len(kept)] == kept and [match.ordinal for match in matches] == list(range(12))
        assert len({match.prompt for match in matches}) == 12
        assert tuple(standing(arena, run_id).is_left(match) for match in matches) == (
            standing(arena, run_id).evaluation.candidate_is_left
        )
        arena.arena.resume(OWNER, run_id)  # nothing is left to do
        assert arena.studio.jobs.get(OWNER, run_id).status == "done"


def test_a_test_can_be_stopped_and_gone_on_with(arena: ArenaStudio) -> None:
    arena.model.hold()
    run_id = arena.arena.evaluate(OWNER, make_adapter(arena.studio).id, EvaluateOptions(n=4))
    arena.studio.jobs.cancel(OWNER, run_id)
    assert arena.finish(run_id).status == "cancelled" and arena.matches(run_id) == ()
    wait_for(lambda: arena.model.running == 0)
    arena.model.release(10_000)
    arena.arena.resume(OWNER, run_id)
    wait_for(lambda: arena.studio.jobs.get(OWNER, run_id).status == "done")
    assert len(arena.matches(run_id)) == 4


def alike(request: GenerateRequest, row: int) -> list[str]:
    """Every other prompt gets the same answer from everybody."""
    return ["The same."] if request.seeds[row] % 2 == 0 else speak(request, row)


def test_pairs_that_come_out_alike_are_left_out_while_there_are_other_prompts(arena: ArenaStudio) -> None:
    arena.model.script = alike
    matches = arena.matches(arena.evaluate(make_adapter(arena.studio).id, n=6))
    assert len(matches) == 6
    assert all(match.left_output != match.right_output for match in matches)
    assert [match.metrics["prompt"] for match in matches] == [1, 3, 5, 7, 9, 11]


def test_alike_pairs_are_shown_when_nothing_else_is_left(arena: ArenaStudio) -> None:
    arena.model.script = lambda request, row: ["The same."]
    matches = arena.matches(arena.evaluate(make_adapter(arena.studio).id, n=4))
    assert len(matches) == 4 and all(match.left_output == match.right_output for match in matches)


def test_a_candidate_that_wins_with_broken_language_does_not_pass(arena: ArenaStudio) -> None:
    adapter = make_adapter(arena.studio)
    arena.model.surprise = lambda word: math.log(40) if word == f"by-{adapter.sha256[:6]}" else math.log(4)
    run_id = arena.evaluate(adapter.id, n=6, prompts=("short",))
    arena.vote_all(run_id, for_adapter(adapter))
    gate = arena.arena.result(OWNER, OWNER, run_id)["gate"]
    assert gate["pass"] is False and [one["key"] for one in gate["reason_keys"]] == ["error.gate_perplexity"]


def test_the_worst_prompts_are_those_it_lost(arena: ArenaStudio) -> None:
    adapter = make_adapter(arena.studio)
    run_id = arena.evaluate(adapter.id, n=5)
    lost = arena.matches(run_id)[2]
    wins = for_adapter(adapter)
    arena.vote_all(run_id, lambda match: wins(match) if match.id != lost.id else ("left", "right")[wins(match) == "left"])  # type: ignore[arg-type]
    result = arena.arena.result(OWNER, OWNER, run_id)
    assert [(one["prompt"], one["lost"]) for one in result["worst"]] == [(lost.prompt, True)]
    assert f"by-{adapter.sha256[:6]}" in result["worst"][0]["candidate"] and "by-base" in result["worst"][0]["current"]


def test_automatic_only_has_figures_and_no_votes(arena: ArenaStudio) -> None:
    run_id = arena.evaluate(make_adapter(arena.studio).id, n=4, automatic_only=True)
    result = arena.arena.result(OWNER, OWNER, run_id)
    assert set(result["automatic"]) == {"candidate", "current", "held_out"} and result["needed"] == 0
    assert result["automatic"]["current"]["perplexity"] == pytest.approx(8.0)
    assert result["gate"]["pass"] is None and result["wins"] is None
    assert arena.shown(run_id).match_id is None and arena.shown(run_id).is_done
    with pytest.raises(BadOptionError, match="no votes"):
        arena.arena.vote(OWNER, OWNER, arena.matches(run_id)[0].id, "left")


def test_liked_answers_are_compared_with(tmp_path: Path) -> None:
    row = DatasetRow(0, "held_out", {"prompt": user(HELD_OUT[0]), "chosen": user("by-base"), "rejected": user("x")}, ())
    with arena_studio(tmp_path, datasets=FakeDatasets([user(HELD_OUT[0])], [row])) as arena:
        with arena.studio.database.write() as uow:
            dataset = uow.datasets.add(
                OWNER, task="text", method="dpo", name="", sha256="a" * 64, filter={}, counts={}, rows=[row]
            )
            uow.commit()
        adapter = make_adapter(arena.studio, dataset_id=dataset.id)
        found = standing(arena, arena.evaluate(adapter.id, n=2))
        figures = found.figures(found.matches[0], is_candidate=False)
        assert figures["rouge_l"] > found.figures(found.matches[0], is_candidate=True)["rouge_l"]
        assert "rouge_l" not in found.figures(found.matches[1], is_candidate=False)


def test_what_cannot_be_tested_is_refused_before_anything_is_written(arena: ArenaStudio) -> None:
    adapter, elsewhere = make_adapter(arena.studio), make_adapter(arena.studio, "Elsewhere", model_id="another-model")
    for adapter_id, against, error in (
        ("f" * 32, "base", NotFoundError),
        (adapter.id, "f" * 32, NotFoundError),
        (adapter.id, adapter.id, BadOptionError),
        (adapter.id, elsewhere.id, BadOptionError),
    ):
        with pytest.raises(error):
            arena.arena.evaluate(OWNER, adapter_id, EvaluateOptions(against=against))
    with pytest.raises(BadOptionError, match="empty"):
        arena.arena.evaluate(OWNER, adapter.id, EvaluateOptions(prompts=("fine", " ")))
    with pytest.raises(TooLongError):
        arena.arena.evaluate(OWNER, adapter.id, EvaluateOptions(prompts=("x" * 2_000_000,)))
    arena.studio.adapters.promote(OWNER, adapter.id, override="to see")
    with pytest.raises(BadOptionError, match="is what it would be compared with"):
        arena.arena.evaluate(OWNER, adapter.id)
    (arena.studio.adapters_dir / adapter.id / "adapter_model.safetensors").unlink()
    with pytest.raises(BadFileError):
        arena.arena.evaluate(OWNER, adapter.id, EvaluateOptions(against="base"))
    assert arena.arena.evaluations(OWNER, OWNER) == ()


def test_answers_are_as_long_as_the_owner_s_usually_are(arena: ArenaStudio) -> None:
    adapter = make_adapter(arena.studio)
    assert standing(arena, arena.evaluate(adapter.id, n=1)).evaluation.max_new_tokens == 256
    for limit in (40, 60, 80):
        arena.studio.wrote("Write a line.", max_new_tokens=limit)
    assert standing(arena, arena.evaluate(adapter.id, n=1)).evaluation.max_new_tokens == 60


def test_two_clicks_are_one_test(arena: ArenaStudio) -> None:
    arena.model.hold()
    adapter = make_adapter(arena.studio)
    run_id = arena.arena.evaluate(OWNER, adapter.id)
    assert arena.arena.evaluate(OWNER, adapter.id) == run_id
    assert arena.arena.evaluate(OWNER, adapter.id, EvaluateOptions(n=5)) != run_id
    arena.model.release(100_000)


def test_nobody_sees_another_owner_s_test(arena: ArenaStudio) -> None:
    run_id = arena.evaluate(make_adapter(arena.studio).id, n=1)
    match_id = arena.matches(run_id)[0].id
    for call in (
        lambda: arena.arena.match("else", "else", run_id),
        lambda: arena.arena.result("else", "else", run_id),
        lambda: arena.arena.vote("else", "else", match_id, "left"),
        lambda: arena.arena.undo("else", "else", run_id),
        lambda: arena.arena.resume("else", run_id),
        lambda: arena.arena.match(OWNER, OWNER, arena.studio.write("hello").job_id),
    ):
        with pytest.raises(NotFoundError):
            call()
    with pytest.raises(BadOptionError, match="left, right, tie, bad"):
        arena.arena.vote(OWNER, OWNER, match_id, "both")  # type: ignore[arg-type]


def test_two_raters_each_have_their_own_votes(arena: ArenaStudio) -> None:
    run_id = arena.evaluate(make_adapter(arena.studio).id, n=2)
    arena.vote_all(run_id, lambda match: "tie")
    other = arena.arena.match(OWNER, "guest", run_id)
    assert other.match_id is not None and other.voted == 0
    assert arena.arena.result(OWNER, "guest", run_id)["wins"] is None


def test_a_thousand_raters_who_do_not_look_promote_hardly_ever(arena: ArenaStudio) -> None:
    """Over real matches of three adapters, through the same verdict as the page and the API."""
    passed = rounds = 0
    for number in range(3):
        found = standing(arena, arena.evaluate(make_adapter(arena.studio, f"Random {number}").id))
        assert len(found.matches) == 30
        draw = random.Random(number)
        for _ in range(500):
            choices = draw.choice((CHOICES, ("left", "right"), ("left",), ("left", "right", "right")))
            votes = {match.id: vote(match.id, draw.choice(choices)) for match in found.matches}  # type: ignore[arg-type]
            result = result_of(replace(found, votes=votes))
            passed, rounds = passed + (result["gate"]["pass"] is True), rounds + 1
    assert rounds == 1_500
    assert passed / rounds <= 0.05


def vote(match_id: str, choice: Choice) -> VoteRecord:
    return VoteRecord("v" * 32, 1, match_id, OWNER, choice, "", "", True, datetime.now(UTC))
