"""The studio: every service a page or the API may call, as one frozen record. `engine.bootstrap` builds it.

Annotations only: importing this loads no service, no database and no torch.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.services.adapters import AdapterService
    from engine.services.arena import ArenaService
    from engine.services.conversations import ConversationService
    from engine.services.datasets import DatasetService
    from engine.services.export import ExportService
    from engine.services.feedback import FeedbackService
    from engine.services.image import ImageService
    from engine.services.jobs import JobsService
    from engine.services.library import LibraryService
    from engine.services.models import ModelService
    from engine.services.preferences import PreferencesService
    from engine.services.speed import SpeedService
    from engine.services.summary import SummaryService
    from engine.services.taste import TasteService
    from engine.services.text import TextService
    from engine.services.training import TrainingService
    from engine.settings import Settings


@dataclass(frozen=True, slots=True)
class Studio:
    """One running studio. Services are thread-safe; each call names its owner."""

    settings: Settings
    text: TextService
    image: ImageService
    summary: SummaryService
    conversations: ConversationService
    feedback: FeedbackService
    library: LibraryService
    exports: ExportService
    models: ModelService
    speed: SpeedService
    datasets: DatasetService
    training: TrainingService
    adapters: AdapterService
    arena: ArenaService
    taste: TasteService
    preferences: PreferencesService
    jobs: JobsService
    warnings: tuple[str, ...] = ()
    """What the user should know about this start, one English sentence each."""
    closing: ExitStack = field(default_factory=ExitStack, repr=False, compare=False)
    """What `close` undoes, last opened first."""

    def close(self) -> None:
        """End jobs as interrupted (a training goes on by itself), let go of models, database and lock. Twice is harmless."""
        self.closing.close()
