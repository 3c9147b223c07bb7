"""Builds the studio once, in order: data folder, database, models, jobs, services. Tests bring parts of their own.

The only place that constructs services. Everything opened here is closed by `Studio.close`, last opened first.
Knows no page; loads no model and no torch.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from engine.data_folder import hold_data_folder
from engine.errors import RefusedStartError
from engine.image.word_styles import load_styles
from engine.jobs.runner import JobRunner
from engine.models.catalog import Catalog, load_catalog
from engine.models.host import ModelHost
from engine.models.store import ModelStore
from engine.services.adapters import AdapterService
from engine.services.arena import ArenaService
from engine.services.arena_job import ArenaParts
from engine.services.arena_prompts import ArenaPrompts
from engine.services.conversations import ConversationService
from engine.services.datasets import DatasetService
from engine.services.edge import storage_errors
from engine.services.export import ExportService
from engine.services.feedback import FeedbackService
from engine.services.image import ImageService
from engine.services.image_catalog import ImageCatalog
from engine.services.image_files import PictureFiles
from engine.services.image_parts import ImageHost, ImageParts
from engine.services.jobs import JobsService, RowJobStore
from engine.services.library import LibraryService
from engine.services.model_list import ModelList
from engine.services.models import ModelService
from engine.services.preferences import PreferencesService
from engine.services.restore import apply_staged
from engine.services.runs import KIND as TRAIN
from engine.services.secret import SecretFile
from engine.services.speed import SpeedService
from engine.services.summary import SummaryService
from engine.services.summary_documents import DocumentFiles
from engine.services.summary_parts import SummaryParts
from engine.services.taste import EncoderHost, TasteService
from engine.services.text import TextService
from engine.services.training import TrainingService
from engine.services.training_job import CHILD as TRAINING_CHILD
from engine.services.training_job import TrainingParts
from engine.services.training_plan import Planner, PlanParts
from engine.services.writing import TextHost
from engine.settings import Settings
from engine.studio import Studio
from engine.summary.reading.draft import ReadingLimits
from engine.summary.styles import SummaryStyles, load_summary_styles
from storage.database import Database, open_database
from storage.errors import StorageError
from storage.files import FileStore, Stores
from storage.records import JobRecord

ASSETS_DIR = Path(__file__).resolve().parent.parent / "assets"
SHUTDOWN_GRACE_S = 5.0
"""How long running jobs get to stop when the studio closes."""
QUIET_S = 0.5
"""Training goes on when nobody has waited for an answer for so long."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """Parts that tests bring along; None = the real one."""

    text_host: TextHost | None = None
    """Where text models come from."""
    image_host: ImageHost | None = None
    """Where image models come from."""
    catalog: Catalog | None = None
    training_module: str = TRAINING_CHILD
    """The program that trains (`python -m`)."""
    encoders: EncoderHost | None = None
    """Where the encoder of summaries comes from."""


def check_profile(settings: Settings) -> None:
    """Refuse what would show the studio to others: that needs logins, which this version does not have."""
    if settings.share:
        raise RefusedStartError(
            "--share is not in this version: the studio has no logins yet. Start without it.", key="error.share_unready"
        )
    if not settings.is_loopback:
        raise RefusedStartError(
            f"--host {settings.host} would let others in, and the studio has no logins yet. Use --host 127.0.0.1.",
            key="error.host_unready",
            host=settings.host,
        )
    if settings.auth is not None:
        raise RefusedStartError(
            "--auth is not in this version: the studio answers this machine only and has no logins yet. Start without it.",
            key="error.auth_unready",
        )


def build_studio(settings: Settings, overrides: Overrides | None = None) -> Studio:
    """Open everything, mark what the last stop cut off, start missing downloads (unless offline), return the services.

    Raises RefusedStartError with one sentence when the data folder cannot be written or another studio holds it, or when
    its database cannot be used; then everything is closed again.
    """
    parts = overrides or Overrides()
    closing = ExitStack()
    with ExitStack() as opened:
        opened.enter_context(hold_data_folder(settings))
        restored = apply_staged(settings)
        database = _open(settings)
        opened.callback(database.close)
        interrupted = _interrupt(database)
        files = FileStore(settings.files_dir)
        stores = Stores(files, FileStore(settings.adapters_dir))
        _sweep(database, files)
        preferences = PreferencesService(database, files, settings)
        device = preferences.start_device()

        store = ModelStore(settings.models_dir, ASSETS_DIR)
        catalog = parts.catalog or load_catalog(ASSETS_DIR / "models.yaml")
        models = ModelList(catalog, database, SecretFile(settings.secrets_path))
        host = ModelHost(store, models.get, device, key_lookup=models.key)
        opened.callback(host.close)
        runner = JobRunner(RowJobStore(database))
        opened.callback(runner.shutdown, SHUTDOWN_GRACE_S)
        model_service = ModelService(models, store, host, runner, database, settings, device)

        text_host = parts.text_host or host
        image_host = parts.image_host or host
        adapters = AdapterService(database, settings.adapters_dir, model_service.default)

        taste = TasteService(database, host)
        opened.callback(taste.close)
        datasets = DatasetService(database)
        training = _training(settings, parts.training_module, runner, database, datasets, model_service, store, host)
        styles = load_summary_styles(ASSETS_DIR / "summary_styles.yaml")
        prompts = ArenaPrompts(database, datasets, ASSETS_DIR / "prompts", styles)

        studio = Studio(
            settings=settings,
            text=TextService(database, runner, text_host, model_service, lambda: catalog.list("text"), adapters, taste),
            image=ImageService(
                runner,
                ImageCatalog(model_service, store, load_styles(ASSETS_DIR / "image_styles.yaml")),
                PictureFiles(database, files, FileStore(settings.thumbnails_dir)),
                text_host,
                ImageParts(database, files, image_host, store, device, lambda: runner.idle_s("interactive") == 0.0),
            ),
            summary=SummaryService(
                runner,
                model_service,
                adapters,
                lambda: catalog.list("text"),
                _summary_parts(settings, database, files, text_host, parts.encoders or host, styles),
            ),
            conversations=ConversationService(database),
            feedback=FeedbackService(database),
            library=LibraryService(database, files),
            exports=ExportService(database, stores, exports_dir=settings.exports_dir, tmp_dir=settings.tmp_dir),
            models=model_service,
            speed=SpeedService(text_host, model_service.default),
            datasets=datasets,
            training=training,
            adapters=adapters,
            arena=ArenaService(runner, adapters, prompts, ArenaParts(database, text_host, taste)),
            taste=taste,
            preferences=preferences,
            jobs=JobsService(database, runner, interrupted=interrupted),
            warnings=(*database.warnings, *((restored,) if restored else ())),
            closing=closing,
        )
        model_service.ensure_starters()
        training.take_up()
        closing.callback(opened.pop_all().close)
    return studio


def _open(settings: Settings) -> Database:
    """Open the database; whatever is wrong with it is a refused start, in one sentence, and the file stays as it is."""
    try:
        return open_database(settings.database_url, backup_dir=settings.backups_dir)
    except StorageError as error:
        raise RefusedStartError(str(error), key="error.database_refused", reason=str(error)) from error


def _training(
    settings: Settings,
    module: str,
    runner: JobRunner,
    database: Database,
    datasets: DatasetService,
    models: ModelService,
    store: ModelStore,
    host: ModelHost,
) -> TrainingService:
    device = host.device
    parts = TrainingParts(
        database,
        datasets,
        settings.runs_dir,
        settings.adapters_dir,
        device,
        model_dir=lambda owner_id, model_id: store.path(models.require(model_id, owner_id)),
        people_work=lambda: runner.idle_s("interactive") < QUIET_S,
        arbiter=host,
        module=module,
    )
    return TrainingService(runner, Planner(PlanParts(database, datasets, models, store, device, host.most_bytes)), parts)


def _summary_parts(
    settings: Settings,
    database: Database,
    files: FileStore,
    text_host: TextHost,
    encoders: EncoderHost,
    styles: SummaryStyles,
) -> SummaryParts:
    limits = ReadingLimits(
        pages=settings.read_pages,
        text_bytes=round(settings.read_text_mb * 1e6),
        time_s=settings.read_seconds,
        memory_bytes=settings.read_memory_mb * 2**20,
    )
    return SummaryParts(database, DocumentFiles(files), text_host, encoders, styles, limits, settings.tmp_dir)


@storage_errors()
def _interrupt(database: Database) -> tuple[JobRecord, ...]:
    """Nobody holds a job when the studio starts: what is not finished was cut off, with what it had.

    A training may go on in its own process; TrainingService.take_up looks.
    """
    with database.write() as uow:
        interrupted = uow.jobs.interrupt_unfinished(but=(TRAIN,))
        uow.commit()
    return interrupted


@storage_errors()
def _sweep(database: Database, files: FileStore) -> None:
    """Remove files that a crash left without a row."""
    with database.read() as uow:
        known = uow.creations.media_names()
    files.sweep(known)
