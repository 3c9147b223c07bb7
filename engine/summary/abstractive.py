"""Summaries in a text model's own words: of a short document at once, of a long one by way of notes on its parts.

A document that does not fit is cut at sentences; the model takes notes on every part, several parts at a time; notes that are
still too long are parts again ("map-reduce"). Notes that are known already are not written again, so that a summary that was
cut off goes on. Several summaries of one text, each with a seed of its own, are written from the same notes, side by side: a
seed or an adapter changes the summary, never the notes it is written from. Knows a loaded text model and texts; knows no
document's file, no row and no page.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

from engine.errors import CancelledError, TooLongError
from engine.jobs.job import CancelToken
from engine.models.adapters import AdapterRef
from engine.summary.sentences import Span, sentence_spans
from engine.summary.styles import SummaryStyle, SummaryStyles
from engine.text.model import GenerateRequest, Message, Sampling, TextEvent, TextModel

PART_TOKENS: Final = 1000
"""Of one part: small models lose the thread of longer ones, and notes on small parts say more."""
NOTE_TOKENS: Final = 80
NOTE_SEED: Final = 0
ROWS: Final = 8
"""Parts that are read at once."""
CONTEXT_TOKENS: Final = 4096
"""Of a model that does not say how much it takes."""
SAMPLING: Final = Sampling(temperature=0.2, top_p=0.9, repetition_penalty=1.02, dry_multiplier=1.5)
"""Small models fall into loops ("14.00, the Print Room" to the end), which DRY ends. No repetition penalty worth the name: it
would punish the model for the document's own names and numbers.
"""
MAX_LEVELS: Final = 6
"""Each level of notes is several times shorter than the one below."""
_SAMPLE_CHARS: Final = 4000
_TOKENS_PER_WORD: Final = {"zh": 1.3}
_TOKENS_PER_ENGLISH_WORD: Final = 1.6
_PREAMBLE: Final = re.compile(
    r"^\s*(?:here(?:'s| is| are)\b[^\n:]{0,80}:|summary:|摘要[:：]|总结[:：]|以下是[^\n：:]{0,30}[：:])\s*", re.IGNORECASE
)
_BULLET: Final = re.compile(r"^\s*(?:[-*•·–]|\(?\d{1,2}[.)、])\s*")

Phase: TypeAlias = Literal["notes", "writing"]


@dataclass(frozen=True, slots=True)
class Wish:
    """What the summary is to be."""

    style: SummaryStyle
    words: int
    """About so many; Chinese: characters."""
    sentences: int
    focus: str
    """A question that it answers above all; may be empty."""
    language: str
    """Of the document."""
    wanted: str
    """Of the summary."""

    def question(self, styles: SummaryStyles) -> str:
        """What a model is asked about the whole text."""
        return styles.whole(
            self.style, self.language, words=self.words, sentences=self.sentences, focus=self.focus, wanted=self.wanted
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is. `step` of `total` parts are noted; `texts` are the summaries so far, one for each seed."""

    phase: Phase
    step: int
    total: int
    texts: tuple[str, ...] = ()


@dataclass(slots=True)
class Abstractive:
    """Summaries of one or several texts by one model, one for each of `seeds`."""

    model: TextModel
    styles: SummaryStyles
    wish: Wish
    seeds: tuple[int, ...]
    adapter: AdapterRef | None = None
    """What writes the summaries; notes are the model's own."""
    notes: dict[str, str] = field(default_factory=dict)
    """Those of an earlier attempt, and what is added to them: digest of a part and its question → what the model wrote."""
    read: str = ""
    """What the summaries are written from, once that is known: the whole text, or the notes on its parts."""
    paths: list[Mapping[str, Any]] = field(default_factory=list)
    """How each summary was computed, once it has ended; see TextEvent.path."""
    _done: int = 0
    _total: int = 0

    def write(self, texts: Sequence[str], cancel: CancelToken) -> Iterator[Progress]:
        """Take notes where it must, then write. The last Progress has the whole summaries.

        Raises CancelledError, TooLongError when the model takes no text at all, and what TextModel.generate raises.
        """
        text = "\n\n".join(texts)
        for _ in range(MAX_LEVELS):
            if self._fits(text):
                break
            parts = self._parts(text)
            self._total += len(parts)
            for noted in self._note(parts, cancel):
                self._done += noted
                yield self._progress("notes")
            text = "\n".join(self.notes[self._key(part)] for part in parts if self.notes[self._key(part)])
        self.read = text
        yield from self._whole(text, cancel)

    def _progress(self, phase: Phase, texts: Sequence[str] = ()) -> Progress:
        return Progress(phase, self._done, self._total, tuple(texts))

    def _room(self) -> int:
        """Tokens for the text itself."""
        return (self.model.context_length or CONTEXT_TOKENS) - self._new_tokens() - self.model.count_tokens(self._ask(""))

    def _fits(self, text: str) -> bool:
        room = self._room()
        if room < 1:
            raise TooLongError(
                "This model's context is too short for a summary. Choose another one.", key="error.summary_context"
            )
        return self.model.count_tokens((Message("user", text),)) <= min(room, 2 * PART_TOKENS)

    def _parts(self, text: str) -> list[str]:
        """Cut at sentences into parts of about PART_TOKENS; a longer sentence is cut where it must be."""
        sample = text[:_SAMPLE_CHARS]
        chars_per_token = len(sample) / max(1, self.model.count_tokens((Message("user", sample),)))
        limit = max(200, int(min(PART_TOKENS, self._room() / 2) * chars_per_token))
        pieces = [piece for one in sentence_spans(text) for piece in _pieces(text, one, limit)]
        parts, start, end = list[str](), 0, 0
        for first, last in pieces:
            if last - start > limit and end > start:
                parts.append(text[start:end].strip())
                start = first
            end = last
        return [part for part in (*parts, text[start:end].strip()) if part]

    def _question(self) -> str:
        return self.styles.note(self.wish.style, self.wish.language, self.wish.focus)

    def _key(self, part: str) -> str:
        return hashlib.sha256(f"{self._question()}\0{part}".encode()).hexdigest()[:20]

    def _note(self, parts: Sequence[str], cancel: CancelToken) -> Iterator[int]:
        """Note every part that is not noted yet; yields how many more are done."""
        missing = [part for part in dict.fromkeys(parts) if self._key(part) not in self.notes]
        yield len(parts) - len(missing)
        stop = CancelToken()
        pool = ThreadPoolExecutor(ROWS, thread_name_prefix="notes")
        try:
            under_way = {pool.submit(self._note_of, part, cancel, stop): part for part in missing}
            waiting = set(under_way)
            while waiting:
                finished, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                cancel.check()
                for future in finished:
                    if future.exception() is None:
                        self.notes[self._key(under_way[future])] = future.result()
                for future in finished:
                    future.result()  # what failed is raised when the other notes are kept
                if finished:
                    yield len(finished)
        finally:
            stop.cancel()
            pool.shutdown(cancel_futures=True)

    def _note_of(self, part: str, cancel: CancelToken, stop: CancelToken) -> str:
        """What the model notes on a part. One that writes in circles is cut at its first whole sentences."""
        messages = (Message("system", self._question()), Message("user", part))
        text, last = "", TextEvent(0, "", 0)
        for last in self._events(messages, NOTE_TOKENS, (NOTE_SEED,), cancel, batched=True):
            stop.check()
            text += last.delta
        return whole_sentences(_without_preamble(text), self.wish.language, cut=last.finish_reason == "length")

    def _whole(self, text: str, cancel: CancelToken) -> Iterator[Progress]:
        written, shaped = [""] * len(self.seeds), [""] * len(self.seeds)
        self.paths = [{} for _ in self.seeds]
        yield self._progress("writing", shaped)
        for event in self._events(self._ask(text), self._new_tokens(), self.seeds, cancel, batched=False):
            written[event.row] += event.delta
            shaped[event.row] = self._shaped(written[event.row], cut=event.finish_reason == "length")
            self.paths[event.row] = event.path or self.paths[event.row]
            yield self._progress("writing", shaped)

    def _events(
        self, messages: tuple[Message, ...], new_tokens: int, seeds: tuple[int, ...], cancel: CancelToken, *, batched: bool
    ) -> Iterator[TextEvent]:
        """Summaries are written by the adapter; what is `batched` are notes, whose loops are cut off afterwards."""
        fitted, _, room = self.model.fit(messages, new_tokens)
        adapter = None if batched else self.adapter
        sampling = replace(SAMPLING, max_new_tokens=room, dry_multiplier=0.0 if batched else SAMPLING.dry_multiplier)
        request = GenerateRequest(fitted, sampling, seeds, adapter=adapter, batched=batched)
        with closing(self.model.generate(request, cancel)) as events:  # type: ignore[type-var]
            for event in events:
                if event.finish_reason == "cancelled":
                    raise CancelledError("This was stopped.", key="error.cancelled")
                yield event

    def _ask(self, text: str) -> tuple[Message, ...]:
        return (Message("system", self.wish.question(self.styles)), Message("user", text))

    def _new_tokens(self) -> int:
        """A little more than the wished length takes, so that it can end by itself."""
        per_word = _TOKENS_PER_WORD.get(self.wish.wanted, _TOKENS_PER_ENGLISH_WORD)
        return int(self.wish.words * per_word * 1.25) + 24

    def _shaped(self, text: str, *, cut: bool) -> str:
        text = _without_preamble(text)
        if self.wish.style.is_list:
            lines = [_BULLET.sub("", line).strip() for line in text.splitlines() if line.strip()]
            kept = dict.fromkeys(line for line in (lines[:-1] if cut and len(lines) > 1 else lines) if line)
            return "\n".join(f"- {line}" for line in [*kept][: self.wish.sentences])
        text = " ".join(_BULLET.sub("", line).strip() for line in text.splitlines() if line.strip())
        if self.wish.style.id == "headline":
            return text.strip("\"'“”「」 ")
        text = whole_sentences(text, self.wish.wanted, cut=cut)
        return first_sentences(text, self.wish.style.sentences)


def whole_sentences(text: str, language: str, *, cut: bool) -> str:
    """The text without a sentence that was said before, and without its last one where it was `cut` in the middle."""
    text = text.strip()
    said = [text[start:end].strip() for start, end in sentence_spans(text)]
    if cut and len(said) > 1:
        said.pop()
    kept: dict[str, str] = {}
    for sentence in said:
        kept.setdefault(re.sub(r"\W+", "", sentence).lower(), sentence)
    return ("" if language == "zh" else " ").join(kept.values())


def first_sentences(text: str, count: int | None) -> str:
    """The first `count` sentences; None = all."""
    spans = sentence_spans(text)
    return text if count is None or len(spans) <= count else text[: spans[count - 1][1]].strip()


def _without_preamble(text: str) -> str:
    return _PREAMBLE.sub("", text, count=1)


def _pieces(text: str, sentence: Span, limit: int) -> Iterator[Span]:
    """The sentence, or several pieces of it where it is longer than a part may be: at white space where there is some."""
    start, end = sentence
    while end - start > limit:
        at = text.rfind(" ", start + limit // 2, start + limit)
        cut = at if at > start else start + limit
        yield start, cut
        start = cut
    if end > start:
        yield start, end
