"""What comes back in: bundles, JSONL exports and TRL's JSONL from elsewhere. All of a file, or nothing of it.

Rows become Creations of origin "imported" with ids made from their content, so that the same file twice adds nothing twice.
Knows storage and TRL's rows; knows no model and no page.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, BinaryIO

from engine.errors import BadFileError
from engine.safety.provenance import SIDECAR_NAME
from engine.services.feedback import refresh_inferred
from engine.services.trl import ImportedRow, parse_line
from storage.bundle import read_bundle
from storage.database import Database
from storage.files import Stores
from storage.unit_of_work import UnitOfWork

ROWS_NAME = "rows.jsonl"
HELD_OUT_NAME = "held_out.jsonl"
IMPORTED_MODEL = "imported"
MAX_LINE_BYTES = 8 * 2**20
MAX_FILE_BYTES = 2**30
MAX_ROWS = 50_000
"""All rows are one transaction, and nobody else writes meanwhile: a few minutes at most."""
MAX_ERRORS = 100
"""Reading stops there: a file with that many bad rows is another kind of file."""
MAX_RATIO = 200
BATCH = 200
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class ImportResult:
    """`errors` are (row number from 1, sentence). With any error nothing was added."""

    added: int
    skipped: int
    errors: tuple[tuple[int, str], ...] = ()


def import_path(database: Database, stores: Stores, path: Path, *, owner_id: str, rater_id: str, tmp_dir: Path) -> ImportResult:
    """Import one file. Raises BadFileError; storage's errors pass through."""
    if not path.is_file():
        raise BadFileError("There is no such file.", key="error.no_file")
    if not zipfile.is_zipfile(path):
        return _import_jsonl(database, path, owner_id, rater_id)
    if _is_bundle(path):
        counts = read_bundle(database, stores, path, owner_id=owner_id)
        return ImportResult(
            added=sum(table["added"] for table in counts.values()), skipped=sum(table["skipped"] for table in counts.values())
        )
    with _extracted_rows(path, tmp_dir) as rows_path:
        return _import_jsonl(database, rows_path, owner_id, rater_id)


def _is_bundle(path: Path) -> bool:
    with _opened(path) as archive:
        return "manifest.json" in archive.namelist()


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, NotImplementedError, EOFError, UnicodeDecodeError, RuntimeError) as error:
        raise BadFileError("The zip file is damaged; nothing was imported.", key="error.zip_damaged") from error


@contextmanager
def _extracted_rows(path: Path, tmp_dir: Path) -> Iterator[Path]:
    """Check the whole archive from its directory, then copy the rows out, counting bytes instead of trusting the header."""
    tmp_dir.mkdir(parents=True, exist_ok=True)
    with _opened(path) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        if ROWS_NAME not in names:
            raise BadFileError(
                "This zip is neither a bundle nor a JSONL export of the studio; nothing was imported.", key="error.zip_other"
            )
        if len(set(names)) != len(names) or not set(names) <= {ROWS_NAME, HELD_OUT_NAME, SIDECAR_NAME}:
            raise BadFileError("The zip holds files that don't belong there; nothing was imported.", key="error.zip_names")
        for member in members:
            if stat.S_ISLNK(member.external_attr >> 16) or member.flag_bits & 0x1:
                raise BadFileError("The zip holds links or locked files; nothing was imported.", key="error.zip_names")
            if member.file_size > MAX_FILE_BYTES or member.file_size > MAX_RATIO * max(member.compress_size, 1024):
                raise BadFileError("The zip unpacks to more than is allowed; nothing was imported.", key="error.zip_size")
        with tempfile.TemporaryDirectory(dir=tmp_dir) as folder:
            target = Path(folder) / ROWS_NAME
            with target.open("wb") as out:
                for name in (ROWS_NAME, HELD_OUT_NAME):
                    if name in names:
                        with archive.open(name) as rows:
                            shutil.copyfileobj(_Bounded(rows, MAX_FILE_BYTES), out)
            yield target


class _Bounded:
    """A reader that refuses to give more than `limit_bytes`."""

    def __init__(self, stream: IO[bytes], limit_bytes: int) -> None:
        self._stream = stream
        self._left_bytes = limit_bytes

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise BadFileError("The zip unpacks to more than is allowed; nothing was imported.", key="error.zip_size")
        return data


def _import_jsonl(database: Database, path: Path, owner_id: str, rater_id: str) -> ImportResult:
    """Read the file twice: once to find every bad row, then to add them all in one transaction."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise BadFileError("The file is larger than 1 GB; split it and import the parts.", key="error.import_size")
    errors: list[tuple[int, str]] = []
    count = 0
    for number, row in _parsed(path):
        count += 1
        if isinstance(row, BadFileError):
            errors.append((number, f"Row {number}: {row}."))
        if len(errors) >= MAX_ERRORS:
            break
        if count > MAX_ROWS:
            raise BadFileError(f"The file has more than {MAX_ROWS:,} rows; split it.", key="error.import_rows", limit=MAX_ROWS)
    if errors:
        return ImportResult(0, 0, tuple(errors))
    if not count:
        raise BadFileError("The file has no rows; nothing was imported.", key="error.import_empty")
    with database.write() as uow:
        adder = _Adder(uow, owner_id, rater_id)
        rows = (_good(row) for _, row in _parsed(path))
        while batch := list(islice(rows, BATCH)):
            adder.add(batch)
        uow.commit()
    return ImportResult(adder.added, adder.skipped)


def _good(row: ImportedRow | BadFileError) -> ImportedRow:
    if isinstance(row, BadFileError):
        raise BadFileError("The file changed while it was read; nothing was imported.", key="error.import_changed")
    return row


def _parsed(path: Path) -> Iterator[tuple[int, ImportedRow | BadFileError]]:
    with path.open("rb") as stream:
        for number, line in _lines(stream):
            if line is None:
                yield number, BadFileError(f"longer than {MAX_LINE_BYTES // 2**20} MB")
            elif line.strip():
                try:
                    yield number, parse_line(line)
                except BadFileError as error:
                    yield number, error


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Yield (number, line) for any mix of line ends; None for one that is too long, of which no more than the limit is kept."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_LINE_BYTES)
            number += 1
            yield number, None
            continue
        if number == 0:
            line = line.removeprefix(_BOM)
        for part in line.rstrip(b"\r\n").split(b"\r"):
            number += 1
            yield number, part


@dataclass
class _Adder:
    """Adds batches of rows in one transaction; knows what is already there."""

    uow: UnitOfWork
    owner_id: str
    rater_id: str
    added: int = 0
    skipped: int = 0

    def add(self, rows: list[ImportedRow]) -> None:
        chains = [_Chain(self.owner_id, row) for row in rows]
        ids = list(dict.fromkeys(turn.id for chain in chains for turn in chain.turns))
        answers = list(dict.fromkeys(turn.id for chain in chains for turn in chain.answers))
        there = {creation.id for creation in self.uow.creations.get_many(self.owner_id, ids)}
        rated = set(self.uow.ratings.current(self.rater_id, answers))
        current = self.uow.preferences.current(self.rater_id, answers)
        known = {frozenset((choice.chosen_id, choice.rejected_id)) for choice in current if choice.is_explicit}
        turns: list[str] = []
        for chain in chains:
            is_new = False
            for turn in chain.turns:
                if turn.id not in there:
                    self._add_creation(turn, chain.row.system)
                    there.add(turn.id)
                    is_new = True
            is_new = self._add_feedback(chain, rated, known) or is_new
            turns += [turn.turn_id for turn in chain.answers]
            self.added, self.skipped = self.added + is_new, self.skipped + (not is_new)
        refresh_inferred(self.uow, self.owner_id, self.rater_id, dict.fromkeys(turns))

    def _add_creation(self, turn: _Turn, system: str) -> None:
        self.uow.creations.add(
            self.owner_id,
            id=turn.id,
            turn_id=turn.turn_id,
            kind="text",
            prompt=turn.prompt,
            output=turn.answer,
            model_id=IMPORTED_MODEL,
            adapter_id="base",
            origin="imported",
            status="done",
            finish_reason="stop",
            context_id=turn.context_id,
            params={"system": system} if system else {},
        )

    def _add_feedback(self, chain: _Chain, rated: set[str], known: set[frozenset[str]]) -> bool:
        """Add the row's rating or preference unless the rater already said something there; whether it did."""
        chosen = chain.answers[0]
        if len(chain.answers) == 2:
            pair = frozenset(turn.id for turn in chain.answers)
            if pair in known:
                return False
            known.add(pair)
            self.uow.preferences.set(
                self.rater_id, chosen.id, chain.answers[1].id, outcome="win", source="imported", is_explicit=True
            )
            return True
        if chosen.id in rated:
            return False
        rated.add(chosen.id)
        self.uow.ratings.set(self.rater_id, chosen.id, chain.row.score)
        return True


@dataclass(frozen=True, slots=True)
class _Turn:
    """One Creation to be: its id says what it holds and what it follows."""

    id: str
    turn_id: str
    context_id: str | None
    prompt: str
    answer: str


class _Chain:
    """The Creations of one row: the turns before, then one or two answers to its prompt."""

    def __init__(self, owner_id: str, row: ImportedRow) -> None:
        self.row = row
        context: list[_Turn] = []
        for prompt, answer in row.context:
            context.append(_turn(owner_id, row.system, context[-1].id if context else None, prompt, answer))
        context_id = context[-1].id if context else None
        texts = [row.chosen] if row.rejected is None else [row.chosen, row.rejected]
        self.answers = [_turn(owner_id, row.system, context_id, row.prompt, text) for text in texts]
        self.turns = [*context, *self.answers]


def _turn(owner_id: str, system: str, context_id: str | None, prompt: str, answer: str) -> _Turn:
    turn_id = _content_id("turn", owner_id, system, context_id or "", prompt)
    return _Turn(_content_id("answer", turn_id, answer), turn_id, context_id, prompt, answer)


def _content_id(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
