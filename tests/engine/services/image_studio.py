"""The image service on a real database and real files, with a model that draws at once, or only as far as the test lets it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from engine.errors import NoModelError, NotFoundError
from engine.image.model import ImageModel, ImageRequest, ImageStep
from engine.image.word_styles import load_styles
from engine.jobs.job import CancelToken, JobSnapshot
from engine.jobs.runner import JobRunner
from engine.models.catalog import ModelSpec
from engine.models.store import ModelStore
from engine.services.feedback import FeedbackService
from engine.services.image import ImageService
from engine.services.image_catalog import ImageCatalog
from engine.services.image_files import PictureFiles
from engine.services.image_parts import ImageParts
from engine.services.image_records import ImagineStarted
from engine.services.jobs import JobsService, RowJobStore
from engine.services.library import LibraryService
from engine.services.model_card import ModelCard, make_card
from engine.types import ImagineOptions, ImagineRequest
from storage.database import Database, open_database
from storage.files import FileStore
from storage.records import LOCAL_OWNER, CreationFilter, CreationRecord
from tests.engine.services.fakes import DEADLINE_S, FakeHost, FakeTextModel
from tests.tiny import CPU

OWNER = LOCAL_OWNER
STYLES = Path(__file__).parents[3] / "assets" / "image_styles.yaml"
DRAWING = {
    "size": [64, 64],
    "max_side": 256,
    "steps": {"fast": 2, "balanced": 3, "fine": 5},
    "guidance": 4.0,
    "schedulers": ["euler", "heun", "dpm++", "unipc"],
    "square": True,
    "clear": True,
}
WORDY = {**DRAWING, "square": False, "clear": False, "guidance": 1.0, "starts": ["picture"]}


class FakeImageModel:
    """Draws one colour that follows from everything asked. With `hold()` every step waits for a `release`."""

    id = "fake"
    size_bytes = 0
    styles = ("flat", "line")
    schedulers = ("euler",)
    native_size = (64, 64)

    def __init__(self) -> None:
        self.requests: list[ImageRequest] = []
        self.fail_at: int | None = None
        self.failure: Exception = NoModelError("The model broke.")
        self._permits: threading.Semaphore | None = None

    def hold(self) -> None:
        """From now on no step ends without `release`."""
        self._permits = threading.Semaphore(0)

    def release(self, steps: int = 1) -> None:
        """Let this many steps end."""
        assert self._permits is not None
        self._permits.release(steps)

    def draw(self, request: ImageRequest, cancel: CancelToken, watch: Callable[[ImageStep], None]) -> Image.Image:
        self.requests.append(request)
        for step in range(1, request.steps + 1):
            self._permit(cancel)
            cancel.check()
            if len(self.requests) == self.fail_at:
                raise self.failure
            watch(ImageStep(step, request.steps, Image.new("RGB", (32, 32), (step, 0, 0)) if step < request.steps else None))
        colour = (request.seed % 256, len(request.prompt) % 256, round(10 * request.guidance) % 256)
        mode = "RGBA" if request.transparent else "RGB"
        return Image.new(mode, (request.width, request.height), (*colour, 128) if request.transparent else colour)

    def enlarge(self, picture: Image.Image, width: int, height: int) -> Image.Image:
        return picture.resize((width, height))

    def close(self) -> None:
        pass

    def _permit(self, cancel: CancelToken) -> None:
        deadline_s = time.monotonic() + DEADLINE_S
        while self._permits is not None and not self._permits.acquire(timeout=0.005):
            cancel.check()
            assert time.monotonic() < deadline_s, "the test held the model for too long"


@dataclass
class FakeImageHost:
    """One model, loaded already."""

    model: ImageModel
    used: list[str] = field(default_factory=list)
    warmed: list[str] = field(default_factory=list)

    def warm(self, model_id: str) -> None:
        self.warmed.append(model_id)

    @contextmanager
    def use_image(self, model_id: str) -> Iterator[ImageModel]:
        self.used.append(model_id)
        yield self.model


class FakeModels:
    """The model service: two models that draw, one of which takes styles as words, and one that is not here."""

    def __init__(self, folder: Path) -> None:
        (folder / "own").mkdir(parents=True, exist_ok=True)
        (folder / "own" / "styles.json").write_text(json.dumps(["flat", "line"]), encoding="utf-8")
        source = f"local:{folder / 'own'}"
        self._specs = (
            ModelSpec("fake", "Fake", "image", "sticker", source, languages=("en", "zh"), drawing=DRAWING),
            ModelSpec("wordy", "Wordy", "image", "sd", f"local:{folder}", languages=("en",), drawing=WORDY),
            ModelSpec("missing", "Missing", "image", "sd", "assets:models/none", drawing=DRAWING),
            ModelSpec("fake-model", "Fake text", "text", "llama", f"local:{folder}", languages=("en",)),
        )

    def default(self, task: str, owner_id: str) -> str:
        return "fake" if task == "image" else "fake-model"

    def require(self, model_id: str, owner_id: str) -> ModelSpec:
        spec = next((spec for spec in self._specs if spec.id == model_id), None)
        if spec is None:
            raise NotFoundError(f'There is no model "{model_id}".')
        if spec.id == "missing":
            raise NoModelError("Missing is not in this copy of the studio.")
        return spec

    def specs(self, owner_id: str) -> tuple[ModelSpec, ...]:
        return self._specs

    def cards(self, owner_id: str) -> tuple[ModelCard, ...]:
        from engine.device import hardware

        machine = hardware(CPU)
        return tuple(
            make_card(spec, state="missing" if spec.id == "missing" else "installed", machine=machine) for spec in self._specs
        )


@dataclass(frozen=True)
class ImageStudio:
    """Everything a test talks to."""

    folder: Path
    database: Database
    files: FileStore
    runner: JobRunner
    model: Any
    text_model: FakeTextModel
    image: ImageService
    jobs: JobsService
    library: LibraryService
    feedback: FeedbackService

    def imagine(self, prompt: str = "a red fox", *, key: str | None = None, **options: Any) -> ImagineStarted:
        """One click on Create; `picture` and `mask` are files."""
        files = {name: options.pop(name, None) for name in ("picture", "mask")}
        return self.image.imagine(OWNER, ImagineRequest(prompt, ImagineOptions(**options), idempotency_key=key, **files))

    def finish(self, job_id: str) -> JobSnapshot:
        """Wait for the job's end."""
        snapshot = self.runner.wait(job_id, DEADLINE_S)
        assert snapshot is not None and snapshot.is_final, snapshot
        return snapshot

    def drew(self, prompt: str = "a red fox", **options: Any) -> CreationRecord:
        """Draw and wait; the first Creation's row."""
        started = self.imagine(prompt, **options)
        snapshot = self.finish(started.job_id)
        assert snapshot.status == "done", snapshot.error
        return self.row(started.creation_ids[0])

    def row(self, creation_id: str) -> CreationRecord:
        """The row as it is now."""
        with self.database.read() as uow:
            return uow.creations.get(OWNER, creation_id)

    def rows(self, ids: tuple[str, ...]) -> list[CreationRecord]:
        """Several."""
        return [self.row(creation_id) for creation_id in ids]

    def count(self) -> int:
        """How many Creations there are."""
        with self.database.read() as uow:
            return uow.creations.search(OWNER, OWNER, CreationFilter()).total

    def picture(self, creation: CreationRecord) -> Image.Image:
        """What its file holds."""
        with Image.open(self.files.path(creation.media_name or "")) as picture:
            picture.load()
            return picture

    def partial_files(self) -> list[Path]:
        """Files that are half written."""
        return [path for path in self.folder.rglob("*") if path.name.endswith(".tmp")]


@contextmanager
def image_studio(
    folder: Path, model: ImageModel | None = None, *, host: Any = None, models: Any = None, url: str | None = None
) -> Iterator[ImageStudio]:
    """Open the database in a folder, or at a URL, as a start does, and close it."""
    model = model or FakeImageModel()
    database = open_database(url or f"sqlite:///{folder / 'tastemaker.db'}")
    files = FileStore(folder / "files")
    with database.write() as uow:
        interrupted = uow.jobs.interrupt_unfinished()
        uow.commit()
    with database.read() as uow:
        files.sweep(uow.creations.media_names())
    runner = JobRunner(RowJobStore(database))
    store = ModelStore(folder / "models", folder / "assets")
    text_model = FakeTextModel(lambda request, row: ["a ", "fox, ", "soft ", "fur"])
    parts = ImageParts(database, files, host or FakeImageHost(model), store, CPU, lambda: runner.idle_s("interactive") == 0.0)
    catalog = ImageCatalog(models or FakeModels(folder / "models"), store, load_styles(STYLES))
    pictures = PictureFiles(database, files, FileStore(folder / "thumbnails"))
    try:
        yield ImageStudio(
            folder=folder,
            database=database,
            files=files,
            runner=runner,
            model=model,
            text_model=text_model,
            image=ImageService(runner, catalog, pictures, FakeHost(text_model), parts),
            jobs=JobsService(database, runner, interrupted=interrupted),
            library=LibraryService(database, files),
            feedback=FeedbackService(database),
        )
    finally:
        runner.shutdown(5.0)
        database.close()
