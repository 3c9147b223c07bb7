"""All models by id: the catalogue's and those the user added (a local folder, an OpenAI-compatible server).

What hosts and services look ids up in. Knows the catalogue, storage's rows and the file of keys; loads and fetches nothing.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from engine.errors import BadOptionError, NoModelError, NotFoundError
from engine.image.drawing import MULTIPLE, drawing_of
from engine.image.schedulers import names_for
from engine.models.catalog import Catalog, ModelSpec, ServerSource, Task, parse_source
from engine.models.folder import inspect_folder
from engine.models.pipeline_folder import INDEX, habits_of, inspect_pipeline
from engine.safety.limits import TITLE_MAX_CHARS, clean_label, clean_text
from engine.services.edge import NOTHING_HERE, storage_errors
from engine.services.secret import SecretFile
from storage.database import Database
from storage.records import LOCAL_OWNER, Json, ModelRecord

MAX_URL_CHARS = 2_000
MAX_KEY_CHARS = 2_000
_FLOAT32_BYTES = 4


class ModelList:
    """Every model that can be named. Reads the database at each call: rows are few and another tab may add one."""

    def __init__(self, catalog: Catalog, database: Database, secrets: SecretFile) -> None:
        self.catalog = catalog
        self._database = database
        self._secrets = secrets

    @storage_errors()
    def specs(self, owner_id: str = LOCAL_OWNER) -> tuple[ModelSpec, ...]:
        """The catalogue in its order, then what the owner added."""
        with self._database.read() as uow:
            added = uow.models.list(owner_id)
        return (*self.catalog.list(), *(_spec_of(record) for record in added))

    def get(self, model_id: str, owner_id: str = LOCAL_OWNER) -> ModelSpec:
        """Return the spec. Raises NoModelError for an unknown id."""
        spec = self.catalog.find(model_id) or next((s for s in self.specs(owner_id) if s.id == model_id), None)
        if spec is None:
            raise NoModelError(f'There is no model "{model_id}".', key="error.model_unknown", model=model_id)
        return spec

    def key(self, model_id: str) -> str | None:
        """Return the server's key, or None when it needs none."""
        return self._secrets.get(model_id) or None

    def is_trusted(self, spec: ModelSpec) -> bool:
        """Whether texts may be sent to it: a server must have been entered here, not have come with an imported bundle.

        The file of keys tells: it never travels, and has an entry for each server, empty when it needs no key.
        """
        return not isinstance(parse_source(spec.source), ServerSource) or self._secrets.get(spec.id) is not None

    @storage_errors()
    def add_local(self, owner_id: str, path: str | Path, name: str = "") -> ModelSpec:
        """Add a folder of the user's own, which stays where it is: a text model (config.json, tokenizer.json, *.safetensors) or a
        diffusers pipeline (model_index.json and its parts).

        Raises BadFileError when it is neither, damaged, or would need code or a pickle.
        """
        folder = Path(clean_label(str(path), max_chars=MAX_URL_CHARS, what="The folder")).expanduser().absolute()
        label = clean_label(name, max_chars=TITLE_MAX_CHARS, what="The name") or folder.name
        if (folder / INDEX).is_file():
            return self._add(owner_id, label, f"local:{folder}", _pipeline_config(folder), task="image")
        facts = inspect_folder(folder)
        memory_bytes = facts.parameters * _FLOAT32_BYTES
        config = {
            "family": facts.model_type,
            "size_bytes": facts.size_bytes,
            "memory_bytes": memory_bytes,
            "context_length": facts.context_length,
        }
        return self._add(owner_id, label, f"local:{folder}", config)

    @storage_errors()
    def add_server(self, owner_id: str, name: str, url: str, model: str, key: str = "") -> ModelSpec:
        """Add a model behind an OpenAI-compatible server, such as vLLM or Ollama. The key goes to the file of keys only.

        Raises BadOptionError for an address that is none, or that holds a password.
        """
        label = clean_label(name, max_chars=TITLE_MAX_CHARS, what="The name")
        address = _checked_url(clean_label(url, max_chars=MAX_URL_CHARS, what="The address"))
        model_name = clean_label(model, max_chars=TITLE_MAX_CHARS, what="The model")
        secret = clean_text(key or "", max_chars=MAX_KEY_CHARS, what="The key").strip()
        if not model_name:
            raise BadOptionError("Say which model of the server to use.", key="error.server_model")
        if not secret.isascii() or any(character.isspace() for character in secret):
            raise BadOptionError("The key holds characters that no key has.", key="error.server_key")
        source = f"openai:{address}#{model_name}"
        return self._add(owner_id, label or model_name, source, {"family": "openai"}, key=secret)

    @storage_errors()
    def remove_added(self, owner_id: str, model_id: str) -> None:
        """Forget an added model and its key; files of a local folder stay. Raises NotFoundError."""
        with self._database.write() as uow:
            uow.models.remove(owner_id, model_id)
            uow.commit()
        self._secrets.set(model_id, None)

    def is_added(self, owner_id: str, model_id: str) -> bool:
        """Whether the user added it, so that it can be forgotten. Raises NotFoundError for an id that is no model's."""
        if self.catalog.find(model_id) is not None:
            return False
        if all(spec.id != model_id for spec in self.specs(owner_id)):
            raise NotFoundError(NOTHING_HERE, key="error.not_found")
        return True

    def _add(
        self, owner_id: str, name: str, source: str, config: Json, *, key: str | None = None, task: Task = "text"
    ) -> ModelSpec:
        model_id = f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')[:40] or 'model'}-{uuid.uuid4().hex[:6]}"
        with self._database.write() as uow:
            # The key first: a row without its key would fail at each use, a key without its row is only forgotten.
            self._secrets.set(model_id, key)
            record = uow.models.add(owner_id, id=model_id, name=name, task=task, source=source, config=config)
            uow.commit()
        return _spec_of(record)


def _spec_of(record: ModelRecord) -> ModelSpec:
    task: Task = "embedding" if record.task == "embedding" else "image" if record.task == "image" else "text"
    config = record.config
    return ModelSpec(
        id=record.id,
        name=record.name,
        task=task,
        family=str(config.get("family", "")),
        source=record.source,
        size_bytes=int(config.get("size_bytes", 0)),
        memory_bytes=int(config.get("memory_bytes", 0)),
        context_length=int(config.get("context_length", 0)),
        drawing=_known_drawing(config.get("drawing")),
    )


def _known_drawing(value: object) -> Mapping[str, Any]:
    """How an added image model draws; nothing when it is not said in a way that can be read (rows may come from a bundle)."""
    try:
        drawing_of(value)  # type: ignore[arg-type]
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}
    return value  # type: ignore[return-value]


def _pipeline_config(folder: Path) -> dict[str, Any]:
    """What is kept of an image model of the user's own: how large it is, and how it draws by itself."""
    facts, habits = inspect_pipeline(folder), habits_of(folder)
    drawing: dict[str, Any] = {"schedulers": list(names_for(habits.scheduler, habits.prediction_type))}
    if habits.side:
        side = max(MULTIPLE, habits.side // MULTIPLE * MULTIPLE)
        wide, high = (round(side * share / MULTIPLE) * MULTIPLE or MULTIPLE for share in (1.25, 0.8))
        drawing |= {"size": [side, side], "sizes": [[side, side], [wide, high], [high, wide]], "max_side": 2 * side}
    return {
        "family": facts.kind,
        "size_bytes": sum(path.stat().st_size for path in folder.rglob("*.safetensors")),
        "memory_bytes": facts.parameters * _FLOAT32_BYTES,
        "drawing": drawing,
    }


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_good = False
    if not is_good or "#" in url or "?" in url:
        raise BadOptionError("The address must look like http://127.0.0.1:11434/v1, without ? and #.", key="error.server_url")
    if parts.username or parts.password:
        raise BadOptionError("Put the key in its own field, not in the address.", key="error.server_url_key")
    return url.rstrip("/")
