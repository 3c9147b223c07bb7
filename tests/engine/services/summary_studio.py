"""The summary service on a real database with a text model that writes to order, and texts to summarise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.bootstrap import ASSETS_DIR
from engine.jobs.job import JobSnapshot
from engine.services.summary import SummaryService
from engine.services.summary_documents import DocumentFiles
from engine.services.summary_parts import SummaryParts
from engine.services.summary_records import SummaryStarted
from engine.summary.reading.draft import ReadingLimits
from engine.summary.styles import load_summary_styles
from engine.text.model import GenerateRequest
from engine.types import SummaryOptions, SummaryRequest
from storage.files import FileStore
from storage.records import CreationRecord
from tests.engine.services.fakes import CATALOG, DEADLINE_S, FakeEncoders, FakeHost
from tests.engine.services.studio_parts import OWNER, TextStudio

MILL = (
    "The old mill at Harrow burned down on Tuesday night. Nobody was hurt in the fire. The owner, Vera Lind, had sold the "
    "building to the council for 40,000 crowns in March.\n\nFirefighters from three villages fought the flames until dawn. "
    "The council wants to build a library where the mill stood. It will decide on the plan in June."
)
ZH = (
    "哈罗的老磨坊在星期二晚上被烧毁。火灾中没有人受伤。业主维拉在三月把房子卖给了镇政府。"
    "镇政府想在原址建一座图书馆。六月将决定这个计划。"
)


def words_of_the_text(request: GenerateRequest, row: int) -> Sequence[str]:
    """The first sentence of what is to be summarised."""
    return [f"{word} " for word in request.messages[-1].content.partition(".")[0].split()] + ["."]


@dataclass(frozen=True)
class SummaryStudio:
    """The service and what it stands on."""

    parts: TextStudio
    summary: SummaryService

    def summarize(self, text: str | None = MILL, *, key: str | None = None, **options: Any) -> SummaryStarted:
        files, documents = tuple(options.pop("files", ())), tuple(options.pop("documents", ()))
        request = SummaryRequest(text, files, documents, SummaryOptions(**options), key)
        return self.summary.summarize(OWNER, request)

    def ended(self, job_id: str) -> JobSnapshot:
        snapshot = self.parts.runner.wait(job_id, DEADLINE_S)
        assert snapshot is not None and snapshot.is_final
        return snapshot

    def made(self, text: str | None = MILL, **options: Any) -> CreationRecord:
        started = self.summarize(text, **options)
        assert self.ended(started.job_id).status == "done"
        return self.parts.row(started.creation_ids[0])


def summary_studio(parts: TextStudio, folder: Path) -> SummaryStudio:
    files, styles = FileStore(folder / "files"), load_summary_styles(ASSETS_DIR / "summary_styles.yaml")
    work = SummaryParts(
        parts.database, DocumentFiles(files), FakeHost(parts.model), FakeEncoders([]), styles, ReadingLimits(), folder / "tmp"
    )
    return SummaryStudio(parts, SummaryService(parts.runner, parts.models, parts.adapters, lambda: CATALOG, work))


def long_text(sentences: int) -> str:
    return " ".join(f"Item {number} of the list is about {' '.join(['word'] * 12)}." for number in range(sentences))


def seeded(request: GenerateRequest, row: int) -> Sequence[str]:
    """A sentence of the document, and one that names the row's seed."""
    return ["Nobody was hurt in the fire. ", f"Seed {request.seeds[row]} said so."]
