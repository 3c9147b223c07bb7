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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from engine.errors import BadOptionError, NotFoundError
from engine.safety.provenance import PRODUCER, SIDECAR_NAME, sidecar
from engine.services.edge import NOTHING_HERE, storage_errors
from engine.services.examples import BATCH, batches, examples_of
from engine.services.imports import HELD_OUT_NAME, ROWS_NAME, ImportResult, import_path
from engine.services.library import clean_filter
from engine.services.trl import line_of
from storage.bundle import write_bundle
from storage.database import Database
from storage.files import Stores
from storage.records import CreationFilter, CreationRecord, Json, Kind, LibraryItem, Method, RatingRecord, Split
from storage.unit_of_work import UnitOfWork

ExportFormat: TypeAlias = Literal["sft", "dpo", "kto", "csv", "bundle"]
Rows: TypeAlias = Iterable[tuple[Json, Sequence[CreationRecord]]]
"""Training rows, each with the Creations whose answers are in it."""

KEPT_EXPORTS = 20
"""Older exports of an owner are deleted when a new one is made: each can be made again."""
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

    def __init__(self, database: Database, stores: Stores, *, exports_dir: Path, tmp_dir: Path) -> None:
        self._database = database
        self._stores = stores
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
        if format == "bundle":
            return self._made(owner_id, "tastemaker-bundle.zip", lambda path: self._write_bundle(owner_id, path))
        if format == "csv":
            return self._made(owner_id, f"tastemaker-{kind}.csv", lambda path: self._write_csv(owner_id, rater_id, wanted, path))
        methods: dict[str, Method] = {"sft": "sft", "dpo": "dpo", "kto": "kto"}

        def write(path: Path) -> int:
            with self._database.read() as uow:
                examples = examples_of(uow, owner_id, rater_id, methods[format], wanted)
                return _write_rows(path, f"{kind} {format}", {ROWS_NAME: ((one.row, made) for one, made in examples)})

        return self._made(owner_id, f"tastemaker-{kind}-{format}.zip", write)

    @storage_errors()
    def export_dataset(self, owner_id: str, dataset_id: str) -> ExportFile:
        """Write exactly the rows of a frozen Dataset: rows.jsonl to train on, and held_out.jsonl. Raises NotFoundError."""
        with self._database.read() as uow:
            record = uow.datasets.get(owner_id, dataset_id)

            def write(path: Path) -> int:
                parts = {ROWS_NAME: _frozen(uow, owner_id, record.id, "train")}
                parts[HELD_OUT_NAME] = _frozen(uow, owner_id, record.id, "held_out")
                return _write_rows(path, f"{record.task} {record.method}", parts)

            name = f"tastemaker-{record.task}-{record.method}-{record.sha256[:8]}.zip"
            return self._made(owner_id, name, write)

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
        return import_path(self._database, self._stores, Path(path), owner_id=owner_id, rater_id=rater_id, tmp_dir=self._tmp_dir)

    def _made(self, owner_id: str, name: str, write: Callable[[Path], int]) -> ExportFile:
        """A new export, whole or not there at all."""
        export_id = uuid.uuid4().hex
        folder = self._owner_dir(owner_id) / export_id
        partial = folder / f"{name}.partial"
        folder.mkdir(parents=True)
        try:
            rows = write(partial)
            os.replace(partial, folder / name)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._prune(owner_id)
        return ExportFile(id=export_id, name=name, path=folder / name, rows=rows)

    def _write_bundle(self, owner_id: str, path: Path) -> int:
        counts = write_bundle(self._database, self._stores, path, owner_id=owner_id, created_by=PRODUCER)
        return counts["creations"]

    def _write_csv(self, owner_id: str, rater_id: str, filter: CreationFilter, path: Path) -> int:
        count = 0
        # utf-8-sig: without the mark, Excel reads Chinese text in the machine's old code page.
        with self._database.read() as uow, path.open("w", encoding="utf-8-sig", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(CSV_COLUMNS)
            for batch in batches(uow.creations.each(owner_id, rater_id, filter), BATCH):
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


def _frozen(uow: UnitOfWork, owner_id: str, dataset_id: str, split: Split) -> Rows:
    for batch in batches(uow.datasets.rows(owner_id, dataset_id, split), BATCH):
        ids = dict.fromkeys(source_id for row in batch for source_id in row.source_ids)
        made = {creation.id: creation for creation in uow.creations.get_many(owner_id, ids)}
        for row in batch:
            yield row.row, [made[source_id] for source_id in row.source_ids if source_id in made]


def _write_rows(path: Path, content: str, parts: Mapping[str, Rows]) -> int:
    """Write the zip of these JSONL files and the sidecar, which holds the hash of all their lines; the number of rows."""
    digest, count, has_edits = hashlib.sha256(), 0, False
    models: set[str] = set()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, rows in parts.items():
            with archive.open(_member(name), "w", force_zip64=True) as out:
                for row, made in rows:
                    line = line_of(row)
                    digest.update(line)
                    out.write(line)
                    count += 1
                    models.update(creation.model_id for creation in made)
                    has_edits = has_edits or any(creation.origin == "edited" for creation in made)
        label = sidecar(
            content=content,
            rows=count,
            sha256=digest.hexdigest(),
            models=models,
            created_by=PRODUCER,
            has_edits=has_edits,
        )
        archive.writestr(_member(SIDECAR_NAME), label)
    return count


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


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _ZIP_TIME)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    info.create_system = 3  # the same bytes on every platform
    return info
