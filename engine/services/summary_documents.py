"""Documents that were read, as files that rows name: one JSON file each, under the hash of its content.

Knows bytes and files; knows no format of users' files, no row and no page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from engine.errors import NotFoundError
from engine.services.edge import NOTHING_HERE
from engine.summary.document import Document
from storage.files import FileStore
from storage.records import CreationRecord, InputRecord
from storage.unit_of_work import UnitOfWork

_FOLDER: Final = "documents"
_ENDING: Final = "json"
_ID: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class KeptDocument:
    """A Document and its id: the sha256 of the file it is kept in."""

    id: str
    document: Document

    def about(self) -> dict[str, Any]:
        """What a page and the API show of it: everything but the text."""
        read = self.document
        return {
            "id": self.id,
            "title": read.title,
            "name": read.name,
            "kind": read.kind,
            "pages": read.pages,
            "words": read.words,
            "characters": len(read.text),
            "language": read.language,
            "skipped": [one.as_json() for one in read.skipped],
        }

    def record(self, creation_id: str) -> InputRecord:
        """As the row of a Creation names it."""
        return InputRecord(creation_id, "document", _name(self.id), self.id)


class DocumentFiles:
    """Keeps and gives Documents."""

    def __init__(self, files: FileStore) -> None:
        self._files = files

    def keep(self, document: Document) -> KeptDocument:
        """Put it on the disk, unless it is there."""
        content = json.dumps(document.as_json(), ensure_ascii=False, sort_keys=True).encode()
        _, id = self._files.keep(_FOLDER, _ENDING, content)
        return KeptDocument(id, document)

    def get(self, id: str) -> KeptDocument:
        """The one with this id. Raises NotFoundError for one that is gone or damaged."""
        content = self._files.read(_name(id), id) if _ID.fullmatch(id) else None
        if content is None:
            raise NotFoundError(NOTHING_HERE, key="error.not_found")
        return KeptDocument(id, Document.from_json(json.loads(content)))

    def of(self, uow: UnitOfWork, owner_id: str, creation: CreationRecord) -> tuple[KeptDocument, ...]:
        """Those that a summary was made of, in order. Raises NotFoundError when one is gone."""
        inputs = uow.inputs.of(owner_id, [creation.id]).get(creation.id, ())
        return tuple(self.get(one.media_sha256) for one in inputs if one.role == "document")


def title_of(documents: Sequence[KeptDocument]) -> str:
    """What a summary's prompt is called: the documents' titles."""
    return "; ".join(kept.document.title for kept in documents)


def _name(id: str) -> str:
    return f"{_FOLDER}/{id}.{_ENDING}"
