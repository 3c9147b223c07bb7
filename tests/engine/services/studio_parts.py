"""The services this part is about, on a real database in a folder, with a fake model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.jobs.job import JobSnapshot
from engine.jobs.runner import JobRunner
from engine.services.adapters import AdapterService
from engine.services.conversations import ConversationService
from engine.services.feedback import FeedbackService
from engine.services.jobs import JobsService, RowJobStore
from engine.services.taste import TasteService
from engine.services.text import TextService
from engine.services.writing import WriteStarted
from engine.types import WriteOptions, WriteRequest
from storage.database import Database, open_database
from storage.records import LOCAL_OWNER, CreationFilter, CreationRecord
from tests.engine.services.fakes import CATALOG, DEADLINE_S, FakeEncoders, FakeHost, FakeModels, FakeTextModel

OWNER = LOCAL_OWNER


@dataclass(frozen=True)
class TextStudio:
    """Everything a test talks to."""

    database: Database
    runner: JobRunner
    model: FakeTextModel
    models: FakeModels
    text: TextService
    conversations: ConversationService
    jobs: JobsService
    feedback: FeedbackService
    adapters: AdapterService
    adapters_dir: Path
    taste: TasteService

    def write(self, prompt: str = "tell me a story", *, key: str | None = None, **options: object) -> WriteStarted:
        """One click on Create."""
        return self.text.write(OWNER, WriteRequest(prompt, WriteOptions(**options), key))  # type: ignore[arg-type]

    def finish(self, started: WriteStarted) -> JobSnapshot:
        """Wait for the job's end."""
        snapshot = self.runner.wait(started.job_id, DEADLINE_S)
        assert snapshot is not None and snapshot.is_final
        return snapshot

    def wrote(self, prompt: str = "tell me a story", **options: object) -> CreationRecord:
        """Write and wait; the first Creation's row."""
        started = self.write(prompt, **options)  # type: ignore[arg-type]
        self.finish(started)
        return self.row(started.creation_ids[0])

    def row(self, creation_id: str) -> CreationRecord:
        """The row as it is now."""
        with self.database.read() as uow:
            return uow.creations.get(OWNER, creation_id)

    def rows(self) -> int:
        """How many Creations there are."""
        with self.database.read() as uow:
            return uow.creations.search(OWNER, OWNER, CreationFilter(trashed=False)).total


@contextmanager
def text_studio(place: Path | str, model: FakeTextModel | None = None) -> Iterator[TextStudio]:
    """Open the database in a folder, or at a URL, as a start does, and close it."""
    model = model or FakeTextModel()
    models = FakeModels()
    database = open_database(place if isinstance(place, str) else f"sqlite:///{place / 'tastemaker.db'}")
    with database.write() as uow:
        interrupted = uow.jobs.interrupt_unfinished()
        uow.commit()
    runner = JobRunner(RowJobStore(database))
    adapters_dir = (Path("nowhere") if isinstance(place, str) else place) / "adapters"
    adapters = AdapterService(database, adapters_dir, models.default)
    taste = TasteService(database, FakeEncoders(), debounce_s=0.01)
    try:
        yield TextStudio(
            database=database,
            runner=runner,
            model=model,
            models=models,
            text=TextService(database, runner, FakeHost(model), models, lambda: CATALOG, adapters, taste),
            conversations=ConversationService(database),
            jobs=JobsService(database, runner, interrupted=interrupted),
            feedback=FeedbackService(database),
            adapters=adapters,
            adapters_dir=adapters_dir,
            taste=taste,
        )
    finally:
        runner.shutdown(5.0)
        taste.close()
        database.close()
