"""One short transaction and the repositories in it.

`with database.write() as uow: …; uow.commit()`: leaving without commit rolls back. Belongs to one thread.
Knows transactions; the errors of the drivers were mapped before they come here (storage/error_map.py).
"""

from __future__ import annotations

import threading
from types import TracebackType

from sqlalchemy import Connection, Engine

from storage.errors import DatabaseBusyError, StorageError
from storage.repositories.adapters import AdapterRepository
from storage.repositories.conversations import ConversationRepository
from storage.repositories.creations import CreationRepository
from storage.repositories.datasets import DatasetRepository
from storage.repositories.inputs import InputRepository
from storage.repositories.jobs import JobRepository
from storage.repositories.matches import MatchRepository
from storage.repositories.models import ModelRepository
from storage.repositories.personas import PersonaRepository
from storage.repositories.preferences import PreferenceRepository
from storage.repositories.promotions import PromotionRepository
from storage.repositories.ratings import RatingRepository
from storage.repositories.run_events import RunEventRepository
from storage.repositories.settings import SettingRepository
from storage.repositories.votes import VoteRepository

WRITE_WAIT_S = 30.0


class WriteLock:
    """One writer at a time in this process. Waiting here is fair and cheap; waiting inside SQLite is neither."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder: int | None = None

    def acquire(self) -> None:
        """Raises DatabaseBusyError after WRITE_WAIT_S, StorageError when this thread holds it already."""
        if self._holder == threading.get_ident():
            raise StorageError("This thread is writing already; one unit of work cannot contain another.")
        if not self._lock.acquire(timeout=WRITE_WAIT_S):
            raise DatabaseBusyError("The database is busy. Nothing was changed; try again.")
        self._holder = threading.get_ident()

    def release(self) -> None:
        """Let the next writer in."""
        self._holder = None
        self._lock.release()


class UnitOfWork:
    """A context manager; its repositories work inside the `with` block only."""

    conversations: ConversationRepository
    creations: CreationRepository
    inputs: InputRepository
    ratings: RatingRepository
    preferences: PreferenceRepository
    jobs: JobRepository
    personas: PersonaRepository
    models: ModelRepository
    settings: SettingRepository
    datasets: DatasetRepository
    run_events: RunEventRepository
    adapters: AdapterRepository
    matches: MatchRepository
    votes: VoteRepository
    promotions: PromotionRepository

    def __init__(self, engine: Engine, lock: WriteLock | None = None) -> None:
        self._engine = engine
        self._lock = lock
        self._connection: Connection | None = None

    def __enter__(self) -> UnitOfWork:
        if self._lock is not None:
            self._lock.acquire()
        try:
            connection = self._engine.connect()
            try:
                connection.begin()
            except BaseException:
                connection.close()
                raise
        except BaseException:
            if self._lock is not None:
                self._lock.release()
            raise
        self._connection = connection
        self.conversations = ConversationRepository(connection)
        self.creations = CreationRepository(connection)
        self.inputs = InputRepository(connection)
        self.ratings = RatingRepository(connection)
        self.preferences = PreferenceRepository(connection)
        self.jobs = JobRepository(connection)
        self.personas = PersonaRepository(connection)
        self.models = ModelRepository(connection)
        self.settings = SettingRepository(connection)
        self.datasets = DatasetRepository(connection)
        self.run_events = RunEventRepository(connection)
        self.adapters = AdapterRepository(connection)
        self.matches = MatchRepository(connection)
        self.votes = VoteRepository(connection)
        self.promotions = PromotionRepository(connection)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        connection, self._connection = self.connection, None
        try:
            connection.close()  # rolls back what was not committed
        finally:
            if self._lock is not None:
                self._lock.release()

    @property
    def connection(self) -> Connection:
        """The open connection, for storage's own modules."""
        if self._connection is None:
            raise StorageError("The unit of work is not open.")
        return self._connection

    def commit(self) -> None:
        """Make everything so far permanent. It is on the disk when this returns."""
        if self._lock is None:
            raise StorageError("This unit of work only reads.")
        self.connection.commit()
