"""For tests of adapters and the arena: a model that says which adapter writes, adapters as files and rows, a dataset."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.jobs.job import CancelToken, JobSnapshot
from engine.models.adapters import CONFIG_NAME, WEIGHTS_NAME, AdapterRef, sha256_of
from engine.services.arena import ArenaService, MatchView
from engine.services.arena_job import ArenaParts
from engine.services.arena_prompts import ArenaPrompts
from engine.summary.styles import load_summary_styles
from engine.text.model import GenerateRequest, Message, Scored, TextEvent, TextModel
from engine.types import EvaluateOptions
from storage.records import AdapterRecord, Choice, DatasetRow, Json, Kind, MatchRecord
from tests.engine.services.fakes import DEADLINE_S, MODEL_ID, FakeHost, FakeTextModel
from tests.engine.services.studio_parts import OWNER, TextStudio, text_studio

ASSETS_DIR = Path(__file__).resolve().parents[3] / "assets"
STYLES = load_summary_styles(ASSETS_DIR / "summary_styles.yaml")
BASE_SHA256 = "0" * 64


def speak(request: GenerateRequest, row: int) -> list[str]:
    """What the prompt says, who says it, and the seed."""
    who = sha256_of(request.adapter)[:6]
    return [f"{word} " for word in request.messages[-1].content.split()] + [f"by-{who} #{request.seeds[row]}"]


class ArenaModel(FakeTextModel):
    """Names the adapter it was asked for in every path, unless `claims` says otherwise; finds each word equally likely."""

    def __init__(self, script: Callable[[GenerateRequest, int], Sequence[str]] = speak, *, context_length: int = 10_000) -> None:
        super().__init__(script, context_length=context_length)
        self.claims: Callable[[GenerateRequest], str] = lambda request: sha256_of(request.adapter)
        self.surprise: Callable[[str], float] = lambda word: math.log(8)

    def generate(self, request: GenerateRequest, cancel: CancelToken) -> Iterator[TextEvent]:
        for event in super().generate(request, cancel):
            yield event if event.path is None else replace(event, path={**event.path, "adapter": self.claims(request)})

    def score(
        self,
        messages: tuple[Message, ...],
        answer: str,
        *,
        adapter: AdapterRef | None = None,
        cancel: CancelToken | None = None,
    ) -> Scored:
        """Each word is a token."""
        assert adapter is None, "answers are scored by the base model"
        tokens = tuple(answer.split())
        return Scored(tuple(-self.surprise(token) for token in tokens), tokens)


@dataclass
class FakeDatasets:
    """Held-out prompts and the rows behind them."""

    held_out: list[list[Json]] = field(default_factory=list)
    frozen: list[DatasetRow] = field(default_factory=list)

    def held_out_prompts(self, owner_id: str, task: str) -> Sequence[Sequence[Json]]:
        return self.held_out

    def rows(self, owner_id: str, dataset_id: str, split: str | None = None) -> Iterator[DatasetRow]:
        return (row for row in self.frozen if split in (None, row.split))


def user(text: str) -> list[Json]:
    return [{"role": "user", "content": text}]


def make_adapter(
    studio: TextStudio,
    name: str = "Shorter",
    *,
    task: Kind = "text",
    model_id: str = MODEL_ID,
    dataset_id: str | None = None,
    files: Mapping[str, bytes] | None = None,
) -> AdapterRecord:
    """Files and a row, as a training leaves them; without `files` the weights' bytes are made of the name."""
    files = files or {WEIGHTS_NAME: f"weights of {name}".encode(), CONFIG_NAME: json.dumps({"peft_type": "LORA"}).encode()}
    weights = files[WEIGHTS_NAME]
    with studio.database.write() as uow:
        record = uow.adapters.add(
            OWNER,
            task=task,
            name=name,
            base_model_id=model_id,
            base_sha256=BASE_SHA256,
            dataset_id=dataset_id,
            method="dpo",
            recipe="dpo",
            sha256=hashlib.sha256(weights).hexdigest(),
            size_bytes=len(weights),
        )
        uow.commit()
    folder = studio.adapters_dir / record.id
    folder.mkdir(parents=True)
    for file_name, data in files.items():
        (folder / file_name).write_bytes(data)
    return record


@dataclass(frozen=True)
class ArenaStudio:
    """A studio with an arena."""

    studio: TextStudio
    model: ArenaModel
    datasets: FakeDatasets
    arena: ArenaService
    wait_s: float = DEADLINE_S

    def evaluate(self, adapter_id: str, **options: object) -> str:
        """Start a test and wait until its answers are there."""
        run_id = self.arena.evaluate(OWNER, adapter_id, EvaluateOptions(**options))  # type: ignore[arg-type]
        snapshot = self.finish(run_id)
        assert snapshot.status == "done", snapshot
        return run_id

    def finish(self, run_id: str) -> JobSnapshot:
        """Wait for the job's end."""
        snapshot = self.studio.runner.wait(run_id, self.wait_s)
        assert snapshot is not None and snapshot.is_final
        return snapshot

    def matches(self, run_id: str) -> tuple[MatchRecord, ...]:
        """What was stored."""
        with self.studio.database.read() as uow:
            return uow.matches.list(OWNER, run_id)

    def shown(self, run_id: str) -> MatchView:
        """The next match as the rater sees it."""
        return self.arena.match(OWNER, OWNER, run_id)

    def vote_all(self, run_id: str, choose: Callable[[MatchRecord], Choice]) -> None:
        """Vote until nothing is left to vote on."""
        rows = {match.id: match for match in self.matches(run_id)}
        while (match_id := self.shown(run_id).match_id) is not None:
            self.arena.vote(OWNER, OWNER, match_id, choose(rows[match_id]))


def for_adapter(adapter: AdapterRecord) -> Callable[[MatchRecord], Choice]:
    """A rater who always likes what this adapter writes, wherever it stands."""
    return lambda match: "left" if match.left_sha256 == adapter.sha256 else "right"


@contextmanager
def arena_studio(place: Path, model: TextModel | None = None, datasets: FakeDatasets | None = None) -> Iterator[ArenaStudio]:
    """Everything on a real database in a folder."""
    model, datasets = model or ArenaModel(), datasets or FakeDatasets()
    with text_studio(place, model) as studio:  # type: ignore[arg-type]
        prompts = ArenaPrompts(studio.database, datasets, ASSETS_DIR / "prompts", STYLES)
        parts = ArenaParts(studio.database, FakeHost(model))
        yield ArenaStudio(studio, model, datasets, ArenaService(studio.runner, studio.adapters, prompts, parts))
