"""Summaries in a model's own words: what fits is asked at once, what does not is noted part by part, and notes are kept."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from engine.bootstrap import ASSETS_DIR
from engine.errors import BadFileError, CancelledError
from engine.jobs.job import CancelToken
from engine.summary.abstractive import PART_TOKENS, ROWS, Abstractive, Progress, Wish, whole_sentences
from engine.summary.styles import SummaryStyles, load_summary_styles
from engine.text.model import GenerateRequest, Message, TextEvent

STYLES = load_summary_styles(ASSETS_DIR / "summary_styles.yaml")


@dataclass
class Echo:
    """Answers with the first sentence of what it is given; counts a word as a token."""

    context_length: int = 4096
    answer: str | None = None
    finish_reason: str = "stop"
    asked: list[str] = field(default_factory=list)
    fails_at: int | None = None
    says_seed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count_tokens(self, messages: tuple[Message, ...]) -> int:
        return sum(len(message.content.split()) for message in messages)

    def fit(self, messages: tuple[Message, ...], max_new_tokens: int) -> tuple[tuple[Message, ...], int, int]:
        assert self.count_tokens(messages) + max_new_tokens <= self.context_length
        return messages, 0, max_new_tokens

    def generate(self, request: GenerateRequest, cancel: CancelToken) -> Iterator[TextEvent]:
        with self._lock:
            self.asked.append("\n\n".join(message.content for message in request.messages))
            number = len(self.asked)
        if cancel.cancelled:
            yield TextEvent(0, "", 0, "cancelled")
            return
        if self.fails_at == number:
            raise BadFileError("broken")
        body = request.messages[-1].content
        said = self.answer if self.answer is not None else re.split(r"(?<=\.)\s", body)[0]
        for row, seed in enumerate(request.seeds):
            yield TextEvent(row, said + (f" Seed {seed}." if self.says_seed else ""), 1)
        for row, _ in enumerate(request.seeds):
            yield TextEvent(row, "", 1, self.finish_reason, 1, 0.1, {"engine": "echo"})  # type: ignore[arg-type]


def wish(style: str = "abstract", *, words: int = 50, sentences: int = 3, focus: str = "", wanted: str = "en") -> Wish:
    return Wish(STYLES.styles[style], words, sentences, focus, "en", wanted)


def written(model: Echo, text: str, asked: Wish | None = None, notes: dict[str, str] | None = None) -> list[Progress]:
    work = Abstractive(model, STYLES, asked or wish(), (7,), notes=notes if notes is not None else {})  # type: ignore[arg-type]
    return list(work.write([text], CancelToken()))


def long_text(parts: int) -> str:
    """Sentences that each name their number, `parts` times as many as one part takes."""
    words = " ".join(["word"] * 18)
    return " ".join(f"Sentence {number} {words}." for number in range(parts * PART_TOKENS // 20))


def test_a_short_text_is_summarised_at_once() -> None:
    model = Echo()
    steps = written(model, "The mill burned down. Nobody was hurt.", wish(focus="Who was hurt?"))
    assert steps[-1].texts == ("The mill burned down.",) and steps[-1].total == 0
    assert len(model.asked) == 1 and "about 50 words" in model.asked[0] and "Who was hurt?" in model.asked[0]


def test_a_long_text_is_noted_part_by_part_and_every_part_is_seen_once() -> None:
    model, text = Echo(), long_text(6)
    steps = written(model, text)
    noted = [one for one in model.asked if one.startswith(STYLES.styles["abstract"].wordings["en"].note)]
    seen = [int(number) for one in noted for number in re.findall(r"Sentence (\d+)", one)]
    assert sorted(seen) == list(range(6 * PART_TOKENS // 20))
    assert all(model.count_tokens((Message("user", one),)) <= 1.3 * PART_TOKENS for one in noted)
    counts = [(step.step, step.total) for step in steps if step.phase == "notes"]
    assert counts == sorted(counts) and counts[-1][0] == counts[-1][1] == len(noted)
    assert steps[-1].phase == "writing" and steps[-1].texts[0].startswith("Sentence 0 ")


def test_several_summaries_are_written_from_the_same_notes_which_no_seed_changes() -> None:
    text, notes = long_text(6), dict[str, str]()
    several = Echo(says_seed=True)
    work = Abstractive(several, STYLES, wish(), (7, 8), notes=notes)  # type: ignore[arg-type]
    *_, last = work.write([text], CancelToken())
    assert [one.partition("Seed")[2] for one in last.texts] == [" 7.", " 8."] and len(work.paths) == 2
    assert len(several.asked) == len(notes) + 1 and several.asked[-1].endswith(work.read) and len(work.read) < len(text)
    alone = Echo(says_seed=True)
    other = Abstractive(alone, STYLES, wish(), (8,))  # type: ignore[arg-type]
    *_, one = other.write([text], CancelToken())
    assert other.notes == notes and one.texts == last.texts[1:]


def test_notes_of_an_earlier_attempt_are_not_taken_again() -> None:
    broken, text, notes = Echo(fails_at=2 * ROWS), long_text(20), dict[str, str]()
    with pytest.raises(BadFileError):
        written(broken, text, notes=notes)
    kept = dict(notes)
    again = Echo()
    steps = written(again, text, notes=notes)
    assert steps[-1].texts[0] and 0 < len(kept) < len(notes)
    assert len(again.asked) == len(notes) - len(kept) + 1


def test_cancelling_ends_it_and_leaves_nothing_running() -> None:
    cancel = CancelToken()
    cancel.cancel()
    model = Echo()
    with pytest.raises(CancelledError):
        list(Abstractive(model, STYLES, wish(), (7,)).write([long_text(6)], cancel))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "style", "expected"),
    [
        ("Here is a summary of the text: The mill burned. It was old.", "abstract", "The mill burned. It was old."),
        ("1. It burned\n2. It was old\n2. It was old\n3. Rain\n4. Snow", "bullets", "- It burned\n- It was old\n- Rain"),
        ('"Mill burns"', "headline", "Mill burns"),
        ("One thing. Another thing.", "one_line", "One thing."),
        ("It burned. It burned. It burned. Then", "abstract", "It burned. Then"),
    ],
)
def test_an_answer_gets_the_shape_of_its_style(answer: str, style: str, expected: str) -> None:
    assert written(Echo(answer=answer), "Some text.", wish(style))[-1].texts == (expected,)


def test_a_sentence_that_was_cut_is_left_out() -> None:
    steps = written(Echo(answer="The mill burned. The owner, who had", finish_reason="length"), "Some text.")
    assert steps[-1].texts == ("The mill burned.",)
    assert whole_sentences("工厂着火了。没有人受伤。业主说", "zh", cut=True) == "工厂着火了。没有人受伤。"


def test_another_language_is_asked_for_by_its_name() -> None:
    model = Echo()
    written(model, "The mill burned down.", wish(wanted="zh"))
    assert "中文" in model.asked[0]


def test_a_damaged_list_of_styles_says_so(tmp_path: Path) -> None:
    (tmp_path / "styles.yaml").write_text("styles:\n  - id: abstract\n", encoding="utf-8")
    with pytest.raises(BadFileError, match="styles.yaml"):
        load_summary_styles(tmp_path / "styles.yaml")
    assert isinstance(STYLES, SummaryStyles) and set(STYLES.styles) == {
        "abstract", "bullets", "one_line", "key_facts", "child", "headline", "social",
    }  # fmt: skip
