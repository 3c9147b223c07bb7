"""Exports of what was made and rated, and the way back in.

A JSONL export is a zip of rows.jsonl and PROVENANCE.json, the same bytes for the same rows; a bundle is storage's own
format. Files are made under another name and renamed when they are whole. Knows storage and TRL's rows; knows no model, no page.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
import shutil
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from engine.errors import BadOptionError, NotFoundError
from engine.safety.provenance import PRODUCER, SIDECAR_NAME, sidecar
from engine.services.edge import NOTHING_HERE, storage_errors
from engine.services.imports import ROWS_NAME, ImportResult, import_path
from engine.services.library import clean_filter
from engine.services.trl import dpo_row, is_sft_example, kto_row, line_of, prompt_messages, sft_row
from storage.bundle import write_bundle
from storage.database import Database
from storage.files import FileStore
from storage.records import CreationFilter, CreationRecord, Kind, LibraryItem, PreferenceRecord, RatingRecord
from storage.unit_of_work import UnitOfWork

ExportFormat: TypeAlias = Literal["sft", "dpo", "kto", "csv", "bundle"]
T = TypeVar("T")

KEPT_EXPORTS = 20
"""Older exports of an owner are deleted when a new one is made: each can be made again."""
BATCH = 200
CSV_COLUMNS = (
    "id", "created_at", "kind", "origin", "model", "adapter", "system", "prompt", "output", "score", "reasons", "comment",
    "starred", "tags", "seed", "status", "conversation_id", "turn_id", "parent_id", "label",
)  # fmt: skip
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for a formula, full-width forms included; reference: OWASP, CSV injection."""
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class ExportFile:
    """A finished export. `rows` counts training rows, CSV rows, or a bundle's Creations."""

    id: str
    name: str
    path: Path
    rows: int


class ExportService:
    """Exports and imports for one owner and one rater at a time. Works beside everything else: it only reads."""

    def __init__(self, database: Database, files: FileStore, *, exports_dir: Path, tmp_dir: Path) -> None:
        self._database = database
        self._files = files
        self._exports_dir = exports_dir
        self._tmp_dir = tmp_dir

    @storage_errors()
    def export(
        self, owner_id: str, rater_id: str, *, format: str, task: str = "text", filter: CreationFilter | None = None
    ) -> ExportFile:
        """Write an export and return it. Rows come oldest first; trashed Creations stay out unless the filter asks for them.

        sft: answers rated 0.5 or more, and edited ones. dpo: every preference with a winner whose chosen side passes the
        filter. kto: every rating but 0. csv: everything that passes the filter. bundle: all of the owner's data (it takes no
        filter). Raises BadOptionError for an unknown format or task, BusyError when the disk is full.
        """
        kind, wanted = _checked(format, task, filter)
        export_id = uuid.uuid4().hex
        folder = self._owner_dir(owner_id) / export_id
        name = _name(format, kind)
        partial = folder / f"{name}.partial"
        folder.mkdir(parents=True)
        try:
            if format == "bundle":
                rows = self._write_bundle(owner_id, partial)
            elif format == "csv":
                rows = self._write_csv(owner_id, rater_id, wanted, partial)
            else:
                rows = self._write_rows(owner_id, rater_id, format, wanted, partial)
            os.replace(partial, folder / name)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._prune(owner_id)
        return ExportFile(id=export_id, name=name, path=folder / name, rows=rows)

    def path_of(self, owner_id: str, export_id: str) -> Path:
        """Return the file of an export of this owner. Raises NotFoundError (missing and foreign look alike)."""
        if isinstance(export_id, str) and _ID.fullmatch(export_id):
            folder = self._owner_dir(owner_id) / export_id
            found = [path for path in folder.glob("*") if path.suffix != ".partial"] if folder.is_dir() else []
            if found:
                return found[0]
        raise NotFoundError(NOTHING_HERE, key="error.not_found")

    @storage_errors()
    def import_file(self, owner_id: str, rater_id: str, path: Path) -> ImportResult:
        """Import a bundle, a JSONL export (zip) or TRL JSONL. All of it or nothing: with a bad row `added` is 0.

        What is already there is skipped. Raises BadFileError for a file that is none of these, damaged or hostile.
        """
        return import_path(self._database, self._files, Path(path), owner_id=owner_id, rater_id=rater_id, tmp_dir=self._tmp_dir)

    def _write_bundle(self, owner_id: str, path: Path) -> int:
        counts = write_bundle(self._database, self._files, path, owner_id=owner_id, created_by=PRODUCER)
        return counts["creations"]

    def _write_rows(self, owner_id: str, rater_id: str, format: str, filter: CreationFilter, path: Path) -> int:
        """Write the zip: rows first into a file of their own, because the sidecar holds their hash."""
        rows_path = path.with_name("rows.partial")
        digest, count, has_edits = hashlib.sha256(), 0, False
        models: set[str] = set()
        with self._database.read() as uow, rows_path.open("wb") as out:
            for row, sources in _rows(uow, owner_id, rater_id, format, filter):
                line = line_of(row)
                digest.update(line)
                out.write(line)
                count += 1
                models.update(source.model_id for source in sources)
                has_edits = has_edits or any(source.origin == "edited" for source in sources)
        label = sidecar(
            content=f"{filter.kind} {format}",
            rows=count,
            sha256=digest.hexdigest(),
            models=models,
            created_by=PRODUCER,
            has_edits=has_edits,
        )
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            with rows_path.open("rb") as rows, archive.open(_member(ROWS_NAME), "w", force_zip64=True) as target:
                shutil.copyfileobj(rows, target)
            archive.writestr(_member(SIDECAR_NAME), label)
        rows_path.unlink()
        return count

    def _write_csv(self, owner_id: str, rater_id: str, filter: CreationFilter, path: Path) -> int:
        count = 0
        # utf-8-sig: without the mark, Excel reads Chinese text in the machine's old code page.
        with self._database.read() as uow, path.open("w", encoding="utf-8-sig", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(CSV_COLUMNS)
            for batch in _batches(uow.creations.each(owner_id, rater_id, filter), BATCH):
                ratings = uow.ratings.current(rater_id, [item.creation.id for item in batch])
                for item in batch:
                    writer.writerow([_safe_cell(cell) for cell in _csv_row(item, ratings.get(item.creation.id))])
                    count += 1
        return count

    def _owner_dir(self, owner_id: str) -> Path:
        return self._exports_dir / hashlib.sha256(owner_id.encode()).hexdigest()[:16]

    def _prune(self, owner_id: str) -> None:
        folders = sorted((p for p in self._owner_dir(owner_id).iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime_ns)
        for folder in folders[:-KEPT_EXPORTS]:
            shutil.rmtree(folder, ignore_errors=True)


def _checked(format: str, task: str, filter: CreationFilter | None) -> tuple[Kind, CreationFilter]:
    if format not in get_args(ExportFormat):
        raise BadOptionError('"format" must be sft, dpo, kto, csv or bundle.', key="error.export_format")
    kinds: dict[str, Kind] = {"text": "text", "image": "image", "summary": "summary"}
    wanted = clean_filter(filter or CreationFilter())
    kind = kinds.get(task) if wanted.kind is None else wanted.kind
    if kind is None:
        raise BadOptionError('"task" must be text, image or summary.', key="error.export_task")
    if format == "bundle" and wanted != CreationFilter():
        raise BadOptionError("A bundle holds everything: it takes no filter.", key="error.export_bundle_filter")
    if format in ("sft", "dpo", "kto") and kind == "image":
        raise BadOptionError("Training rows are text; export pictures as csv or bundle.", key="error.export_image_rows")
    return kind, replace(wanted, kind=kind)


def _rows(
    uow: UnitOfWork, owner_id: str, rater_id: str, format: str, filter: CreationFilter
) -> Iterator[tuple[dict[str, Any], tuple[CreationRecord, ...]]]:
    """Yield each training row with the Creations it was made of."""
    prompts = _Prompts(uow, owner_id)
    if format == "dpo":
        for chosen, rejected in _pairs(uow, owner_id, rater_id, filter):
            yield dpo_row(prompts.of(chosen), chosen.output, rejected.output), (chosen, rejected)
        return
    for item in uow.creations.each(owner_id, rater_id, filter):
        creation, score = item.creation, item.score
        if not creation.output:
            continue
        if format == "sft":
            row = sft_row(prompts.of(creation), creation.output) if is_sft_example(creation, score) else None
        else:
            row = kto_row(prompts.of(creation), creation.output, score) if score is not None else None
        if row is not None:
            yield row, (creation,)


def _pairs(
    uow: UnitOfWork, owner_id: str, rater_id: str, filter: CreationFilter
) -> Iterator[tuple[CreationRecord, CreationRecord]]:
    """Yield (chosen, rejected) of the current preferences that have a winner, oldest first."""
    if filter == CreationFilter(kind=filter.kind):
        wanted = None
    else:
        wanted = {item.creation.id for item in uow.creations.each(owner_id, rater_id, filter)}
    for batch in _batches(uow.preferences.each(rater_id), BATCH):
        wins: list[PreferenceRecord] = [preference for preference in batch if preference.outcome == "win"]
        ids = dict.fromkeys(key for preference in wins for key in (preference.chosen_id, preference.rejected_id))
        found = {creation.id: creation for creation in uow.creations.get_many(owner_id, list(ids))}
        for preference in wins:
            chosen, rejected = found.get(preference.chosen_id), found.get(preference.rejected_id)
            if chosen is None or rejected is None or chosen.kind != filter.kind:
                continue
            is_wanted = chosen.id in wanted if wanted is not None else chosen.trashed_at is None
            is_told = bool(chosen.output) and bool(rejected.output) and chosen.output != rejected.output
            if is_wanted and is_told and (rejected.trashed_at is None or filter.trashed):
                yield chosen, rejected


class _Prompts:
    """The messages before an answer; the last path is remembered, because neighbours mostly share it."""

    def __init__(self, uow: UnitOfWork, owner_id: str) -> None:
        self._uow = uow
        self._owner_id = owner_id
        self._context_id: str | None = None
        self._context: tuple[CreationRecord, ...] = ()

    def of(self, creation: CreationRecord) -> list[dict[str, str]]:
        if creation.context_id != self._context_id:
            self._context_id = creation.context_id
            self._context = tuple(self._uow.creations.path(self._owner_id, creation.context_id)) if creation.context_id else ()
        return prompt_messages(creation, self._context)


def _csv_row(item: LibraryItem, rating: RatingRecord | None) -> Sequence[object]:
    creation = item.creation
    return (
        creation.id,
        creation.created_at.isoformat(),
        creation.kind,
        creation.origin,
        creation.model_id,
        creation.adapter_id,
        str(creation.params.get("system") or ""),
        creation.prompt,
        creation.output or (f"/media/{creation.id}" if creation.media_name else ""),
        item.score,
        ", ".join(rating.reasons) if rating else "",
        rating.comment if rating else "",
        int(creation.starred),
        ", ".join(creation.tags),
        creation.seed,
        creation.status,
        creation.conversation_id or "",
        creation.turn_id,
        creation.parent_id or "",
        "imported" if creation.origin == "imported" else "AI-generated (人工智能生成)",
    )


def _safe_cell(cell: object) -> object:
    """Return text that no spreadsheet runs as a formula; numbers stay numbers."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _ZIP_TIME)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    info.create_system = 3  # the same bytes on every platform
    return info


def _name(format: str, kind: Kind) -> str:
    if format == "bundle":
        return "tastemaker-bundle.zip"
    return f"tastemaker-{kind}.csv" if format == "csv" else f"tastemaker-{kind}-{format}.zip"
