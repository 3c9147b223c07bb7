"""Datasets: nothing twice, a split by prompt that no later round changes, and plain words for what is missing."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest

from engine.training.dataset import (
    HELD_OUT_LEAST,
    HELD_OUT_SHARE,
    PROMPTS_TO_SPARE,
    REPLAY_SHARE,
    Example,
    assign_splits,
    content_sha256,
    counts_of,
    frozen_rows,
    missing,
    prompt_key,
    prompt_of,
    replayed,
    suggested,
    without_duplicates,
)
from storage.records import Method, Split


def said(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def pair(prompt: str, chosen: str = "a", rejected: str = "b", *, origin: str = "pick", explicit: bool = True) -> Example:
    row = {"prompt": [said("user", prompt)], "chosen": [said("assistant", chosen)], "rejected": [said("assistant", rejected)]}
    return Example(row, (f"{prompt}/{chosen}/{rejected}",), origin, explicit)


def thumb(prompt: str, answer: str = "a", label: bool = True) -> Example:
    row = {"prompt": [said("user", prompt)], "completion": [said("assistant", answer)], "label": label}
    return Example(row, (f"{prompt}/{answer}",), "rating")


def counts(method: Method, examples: list[Example]) -> dict[str, Any]:
    kept, duplicates = without_duplicates(examples)
    splits = assign_splits({}, [prompt_key(prompt_of(one.row)) for one in kept])
    return counts_of(method, frozen_rows(kept, splits), kept, duplicates)


@pytest.mark.parametrize("seed", range(40))
def test_the_split_is_frozen_across_rounds_whatever_the_rounds_are(seed: int) -> None:
    """Rounds of any size: no side ever changes, both are filled as promised, and the order of arrival does not matter."""
    drawn = random.Random(seed)
    prompts = [f"prompt {drawn.random()}" for _ in range(drawn.randint(1, 150))]
    keys = [prompt_key([said("user", prompt)]) for prompt in prompts]
    cuts = sorted({0, len(keys), *(drawn.randint(0, len(keys)) for _ in range(drawn.randint(0, 8)))})
    known: dict[str, Split] = {}
    for start, end in pairwise(cuts):
        before = dict(known)
        seen_again = drawn.sample(keys[:start], drawn.randint(0, start))
        new = assign_splits(known, [*keys[start:end], *seen_again])
        assert new.keys() == set(keys[start:end]) - known.keys()
        shuffled = [*seen_again, *keys[start:end]]
        drawn.shuffle(shuffled)
        assert assign_splits(known, shuffled) == new
        known |= new
        assert {key: known[key] for key in before} == before
    held_out = sum(side == "held_out" for side in known.values())
    assert held_out >= len(known) // HELD_OUT_SHARE or held_out >= end - start
    if len(known) >= PROMPTS_TO_SPARE and end - start >= HELD_OUT_LEAST:
        assert held_out >= HELD_OUT_LEAST
    assert held_out <= max(HELD_OUT_LEAST, len(known) // HELD_OUT_SHARE)


def test_nothing_is_held_out_of_a_handful_and_a_dozen_spares_four() -> None:
    def held_out(count: int) -> int:
        return sum(side == "held_out" for side in assign_splits({}, map(str, range(count))).values())

    assert [held_out(n) for n in (0, 1, 5, 6, 11, 12, 24, 30, 60)] == [0, 0, 0, 1, 1, 4, 4, 5, 10]


def test_a_prompt_is_the_same_in_another_case_spacing_and_context() -> None:
    one = prompt_key([said("system", "Be kind."), said("user", "Write  a\nPoem"), said("assistant", "No.")])
    assert one == prompt_key([said("user", "earlier"), said("assistant", "x"), said("user", " write a poem ")])
    assert one != prompt_key([said("user", "write a poem.")])
    assert prompt_key([said("user", "写 一首诗")]) == prompt_key([said("user", "写\u3000一首诗")])


def test_all_rows_of_a_prompt_are_on_one_side() -> None:
    examples = [pair(f"{'P' if n % 2 else 'p'}rompt {n % 20}", f"answer {n}") for n in range(200)]
    rows = frozen_rows(examples, assign_splits({}, [prompt_key(prompt_of(one.row)) for one in examples]))
    sides: dict[str, set[str]] = {}
    for row in rows:
        sides.setdefault(prompt_key(prompt_of(row.row)), set()).add(row.split)
    assert len(sides) == 20 and all(len(side) == 1 for side in sides.values())
    assert [row.ordinal for row in rows] == list(range(200))


def test_a_pair_is_never_twice_and_what_was_said_beats_what_was_inferred() -> None:
    inferred = pair("p", "x", "y", origin="ratings", explicit=False)
    other_way = pair("p", "y", "x", origin="pick")
    assert without_duplicates([inferred, other_way, inferred]) == ((other_way,), 2)
    newer = pair("p", "x", "y", origin="imported")
    assert without_duplicates([other_way, newer]) == ((newer,), 1)
    assert without_duplicates([pair("p", "x", "y"), pair("p", "x", "z"), pair("q", "x", "y")])[1] == 0


def test_the_last_word_on_an_answer_counts() -> None:
    kept, duplicates = without_duplicates([thumb("p", "x"), thumb("p", "y"), thumb("p", "x", label=False)])
    assert duplicates == 1 and [(one.row["completion"][0]["content"], one.row["label"]) for one in kept] == [
        ("y", True),
        ("x", False),
    ]


def test_the_hash_is_of_content_order_and_sides_only() -> None:
    examples = [pair(f"prompt {n}") for n in range(12)]
    splits = assign_splits({}, [prompt_key(prompt_of(one.row)) for one in examples])
    rows = frozen_rows(examples, splits)
    elsewhere = frozen_rows([Example(one.row, ("other",), "edit") for one in examples], splits)
    assert content_sha256(rows) == content_sha256(elsewhere) and len(content_sha256(rows)) == 64
    others = (rows[:-1], frozen_rows(examples[::-1], splits), frozen_rows(examples, dict.fromkeys(splits, "train")))
    assert len({content_sha256(rows), *map(content_sha256, others)}) == 4


def test_what_is_missing_is_said_with_its_number() -> None:
    lacking = missing("dpo", counts("dpo", [pair(f"prompt {n}") for n in range(3)]))
    assert [(one.key, one.n) for one in lacking] == [("error.need_pairs", 5), ("error.need_prompts", 3)]
    assert lacking[0].message.startswith("5 more pairs:")
    assert missing("dpo", counts("dpo", [pair(f"prompt {n}") for n in range(12)])) == ()
    few_prompts = counts("dpo", [pair(f"prompt {n % 3}", f"answer {n}") for n in range(40)])
    assert [one.key for one in missing("dpo", few_prompts)] == ["error.need_prompts"]
    only_liked = counts("kto", [thumb(f"prompt {n}") for n in range(40)])
    assert [(one.key, one.n) for one in missing("kto", only_liked)] == [("error.need_disliked", 3)]
    assert [one.message for one in missing("sft", {"train": 7})] == ["1 more answer that you rated high or edited."]


def test_the_method_follows_from_the_data() -> None:
    def best(pairs: int, thumbs: int, answers: int = 0) -> str:
        return suggested(
            {
                "dpo": counts("dpo", [pair(f"prompt {n}") for n in range(pairs)]),
                "kto": counts("kto", [thumb(f"prompt {n}", label=n % 2 == 0) for n in range(thumbs)]),
                "sft": {"train": answers},
            }
        )

    assert best(40, 40) == best(0, 0) == best(20, 0) == "dpo"
    assert best(0, 40) == best(12, 200) == "kto" and best(3, 5, 20) == "sft"


def test_a_round_of_chosen_ratings_gets_a_few_rows_of_earlier_ones() -> None:
    splits: dict[str, Split] = {}
    for one in (earlier := [pair(f"old {n}") for n in range(100)]) + (own := [pair(f"new {n}") for n in range(40)]):
        splits |= assign_splits(splits, [prompt_key(prompt_of(one.row))])
    mine, before = frozen_rows(own, splits), frozen_rows(earlier, splits)
    together = replayed(mine, [*before, *mine])
    assert together[: len(mine)] == mine and [row.ordinal for row in together] == list(range(len(together)))
    added = together[len(mine) :]
    assert len(added) == int(REPLAY_SHARE * sum(row.split == "train" for row in mine)) > 0
    assert all(row.split == "train" and row.row in [one.row for one in before] for row in added)
    assert all(row.source_ids for row in added) and replayed(mine, []) == mine
    assert replayed(mine, before) == replayed(mine, before[::-1])
