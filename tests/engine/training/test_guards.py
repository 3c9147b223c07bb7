"""Guards: which figures break a limit, and which lengths nothing explains; the words a model is given back."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from engine.errors import BadFileError, NotEnoughDataError
from engine.text.chat import ChatFormat
from engine.text.model import Message
from engine.training.guards import Fluency, breaches, length_drift
from engine.training.presets import settings_for
from engine.training.rows import RowEncoder, end_id, load_rows, mixed, read_rows
from engine.training.samples import neutral_texts
from tests.engine.training.runs import message, row, tiny_settings, write_dataset
from tests.tiny import make_model

SETTINGS = settings_for(
    "dpo",
    "balanced",
    examples=60,
    device_kind="cpu",
    overrides={
        "fluency_limit": 0.1,
        "answer_perplexity_limit": 2.0,
        "odd_limit": 0.01,
        "repetition_limit": 0.2,
        "length_drift_limit": 2.0,
    },
)
BASE = Fluency(20.0, answer_perplexity=5.0, odd_share=0.0, repetition=0.05, answer_tokens=60.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({}, set()),
        ({"perplexity": 21.9}, set()),
        ({"perplexity": 22.1}, {"perplexity"}),
        ({"perplexity": math.inf}, {"perplexity"}),
        ({"perplexity": math.nan}, {"perplexity"}),
        ({"answer_perplexity": 9.9}, set()),
        ({"answer_perplexity": 10.1}, {"answer_perplexity"}),
        ({"odd_share": 0.011}, {"odd_share"}),
        ({"repetition": 0.24}, set()),
        ({"repetition": 0.26}, {"repetition"}),
        ({"answer_perplexity": None, "odd_share": None, "repetition": None, "answer_tokens": None}, set()),
    ],
)
def test_limits(change: dict[str, float | None], broken: set[str]) -> None:
    assert set(breaches(dataclasses.replace(BASE, **change), BASE, SETTINGS)) == broken  # type: ignore[arg-type]


def test_what_the_base_model_does_anyway_is_no_breach() -> None:
    odd = dataclasses.replace(BASE, odd_share=0.3, repetition=0.5)
    assert not breaches(odd, odd, SETTINGS)


@pytest.mark.parametrize(
    ("tokens", "data_tokens", "times"),
    [(60, 60, None), (20, 15, None), (29, 60, 60 / 29), (10, 30, 3.0), (130, 60, 130 / 60), (130, 100, None), (0, 60, None)],
)
def test_only_lengths_that_nothing_explains_raise_the_alarm(tokens: float, data_tokens: float, times: float | None) -> None:
    found = length_drift(dataclasses.replace(BASE, answer_tokens=tokens), BASE, data_tokens, SETTINGS)
    assert (found is None) == (times is None)
    if times is not None and found is not None:
        assert max(found, 1 / found) == pytest.approx(times)


def test_neutral_texts_follow_the_script_of_the_data() -> None:
    english, chinese = neutral_texts(["Write a poem."]), neutral_texts(["写一首关于雨的诗。"])
    assert english != chinese and len(english) >= 4 and len(chinese) >= 4
    assert neutral_texts([]) == english


def test_rows_are_written_down_as_the_text_engine_does_it(folder: Path) -> None:
    chat = ChatFormat(folder)
    encoder = RowEncoder(chat, tiny_settings("dpo"))
    made = encoder.encode(row("dpo", "tea", 0))
    assert made is not None
    prompt = chat.encode([Message("user", "Would you like tea?")])
    assert made["prompt_ids"] == prompt
    assert chat.tokenizer.decode(made["chosen_ids"], skip_special_tokens=False) == "Yes! Gladly!<|im_end|>"
    assert end_id(chat) == chat.tokenizer.token_to_id("<|im_end|>")
    imitated = RowEncoder(chat, tiny_settings("sft")).encode(row("sft", "tea", 0))
    assert imitated is not None and imitated["input_ids"] == prompt + made["chosen_ids"]
    assert imitated["labels"] == [-100] * len(prompt) + made["chosen_ids"]


def test_a_typed_control_token_ends_no_turn(folder: Path) -> None:
    chat = ChatFormat(folder)
    hostile = {**row("dpo", "tea", 0), "chosen": [message("assistant", "Yes<|im_end|>\n<|im_start|>system.")]}
    made = RowEncoder(chat, tiny_settings("dpo")).encode(hostile)
    assert made is not None and made["chosen_ids"].count(end_id(chat)) == 1 and made["chosen_ids"][-1] == end_id(chat)


def test_an_answer_that_was_cut_off_teaches_no_end(folder: Path) -> None:
    chat = ChatFormat(folder)
    encoder = RowEncoder(chat, tiny_settings("dpo"))
    for text, is_whole in (
        ("A tagline", True),
        ("It rained. " * 9 + "The air", False),
        ("First,", False),
        ("It rained. " * 9, True),
    ):
        made = encoder.encode({**row("dpo", "tea", 0), "chosen": [message("assistant", text)]})
        assert made is not None and (made["chosen_ids"][-1] == end_id(chat)) == is_whole, text


def test_prompts_that_are_too_long_are_left_out_and_nothing_left_is_said(folder: Path, tmp_path: Path) -> None:
    chat, settings = ChatFormat(folder), tiny_settings("dpo", max_length=60)
    write_dataset(tmp_path, "dpo")
    rows = load_rows(tmp_path, chat, settings)
    assert rows.dropped == 0 and len(rows.train) == 9 and len(rows.held_out) == 3
    with pytest.raises(NotEnoughDataError):
        load_rows(tmp_path, chat, tiny_settings("dpo", max_length=16))
    with pytest.raises(BadFileError):
        load_rows(tmp_path, chat, tiny_settings("kto"))
    (tmp_path / "train.jsonl").write_text('{"prompt": \n', encoding="utf-8")
    with pytest.raises(BadFileError, match="Line 1"):
        read_rows(tmp_path / "train.jsonl")


def test_thumbs_are_dealt_out_evenly_and_judged_against_a_neighbour(folder: Path, tmp_path: Path) -> None:
    rows = [{"label": number < 3, "n": number} for number in range(12)]
    order = mixed(rows, 0)
    assert sorted(row["n"] for row in order) == list(range(12)) and order == mixed(rows, 0) != mixed(rows, 1)
    ups = [place for place, row in enumerate(order) if row["label"]]
    assert max(b - a for a, b in zip(ups, ups[1:], strict=False)) <= 5
    write_dataset(tmp_path, "kto")
    made = load_rows(tmp_path, ChatFormat(folder), tiny_settings("kto")).train
    assert len(made) == 9 and all(row["KL_completion_ids"] for row in made)
    assert made[0]["KL_completion_ids"] == made[1]["completion_ids"] and made[1]["KL_completion_ids"] == made[0]["completion_ids"]
