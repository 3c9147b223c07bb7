"""The list of models that the studio knows: assets/models.yaml, read into frozen specs.

Knows where a model comes from and what it needs; not whether it is installed (store.py) or loaded (host.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

from engine.errors import BadFileError, NoModelError

Task: TypeAlias = Literal["text", "embedding", "image"]

TASKS: tuple[Task, ...] = ("text", "embedding", "image")

STARTER_TEXT_ID = "smollm2-135m-instruct"
STARTER_ENCODER_ID = "all-minilm-l6-v2"
STARTER_IMAGE_ID = "sticker"


@dataclass(frozen=True, slots=True)
class WheelSource:
    """A file or a folder inside a published Python package."""

    package: str
    version: str
    member: str
    """Path inside the wheel; a folder when several files are listed in the spec's sha256."""

    @property
    def requirement(self) -> str:
        """As pip reads it."""
        return f"{self.package}=={self.version}"


@dataclass(frozen=True, slots=True)
class HubSource:
    """A repository of the Hugging Face hub. A revision that is no commit is pinned when it is fetched."""

    repo: str
    revision: str


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A folder of the user's own. It is read where it is, never copied or removed."""

    folder: Path


@dataclass(frozen=True, slots=True)
class ServerSource:
    """A model behind an OpenAI-compatible server. The key is never part of it."""

    url: str
    model: str


@dataclass(frozen=True, slots=True)
class AssetsSource:
    """Weights that come with the studio, as a path under assets/."""

    path: str


Source: TypeAlias = WheelSource | HubSource | LocalSource | ServerSource | AssetsSource


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model. Sizes are bytes; zero or empty means unknown."""

    id: str
    name: str
    task: Task
    family: str
    """Model type ("llama", "bert", …), or "openai" for servers."""
    source: str
    """"wheel:PACKAGE==VERSION:PATH", "hub:REPO@REVISION", "local:/FOLDER", "openai:URL#MODEL" or "assets:PATH"."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """File name inside the source → its hash. For wheels also the list of files that are taken."""
    download_bytes: int = 0
    size_bytes: int = 0
    """On disk once installed."""
    memory_bytes: int = 0
    """Of the weights in memory on a CPU (float32, whatever they are on the disk); half of it on an accelerator (16 bit)."""
    licence: str = ""
    languages: tuple[str, ...] = ()
    context_length: int = 0
    """Tokens of prompt and answer together."""
    min_memory_bytes: int = 0
    """Memory of a machine (or GPU) below which it is not recommended."""
    recommended_for: tuple[str, ...] = ()
    """"cpu", "gpu"."""
    description: str = ""
    needs: tuple[str, ...] = ()
    """Other models that it works with."""
    drawing: Mapping[str, Any] = field(default_factory=dict)
    """Of image models: what they draw and with how many steps (engine/image/drawing.py)."""

    @property
    def is_starter(self) -> bool:
        """Whether a first start has it."""
        return self.id in (STARTER_TEXT_ID, STARTER_ENCODER_ID, STARTER_IMAGE_ID)

    @property
    def is_stored(self) -> bool:
        """Whether the store holds it, so that it can be fetched and removed."""
        return isinstance(parse_source(self.source), WheelSource | HubSource)

    def memory_on(self, device_kind: str) -> int:
        """Bytes its weights take on a "cpu", "cuda" or "mps" device: encoders and the starter image model are float32 on each."""
        is_float32 = device_kind == "cpu" or self.task == "embedding" or self.family == "sticker"
        return self.memory_bytes if is_float32 else self.memory_bytes // 2


class Catalog:
    """Specs by id, in the order of the file."""

    def __init__(self, specs: tuple[ModelSpec, ...]) -> None:
        self._specs = {spec.id: spec for spec in specs}

    def get(self, model_id: str) -> ModelSpec:
        """Return the spec; raises NoModelError for an unknown id."""
        spec = self._specs.get(model_id)
        if spec is None:
            raise NoModelError(f'There is no model "{model_id}".', key="error.model_unknown", model=model_id)
        return spec

    def find(self, model_id: str) -> ModelSpec | None:
        """Return the spec or None."""
        return self._specs.get(model_id)

    def list(self, task: Task | None = None) -> tuple[ModelSpec, ...]:
        """All specs, or those of one task."""
        return tuple(spec for spec in self._specs.values() if task is None or spec.task == task)


def load_catalog(path: Path) -> Catalog:
    """Read the catalogue file; raises BadFileError when it is damaged."""
    import yaml

    try:
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))["models"]
        specs = tuple(_spec(row) for row in rows)
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise BadFileError(f"The model list {path.name} cannot be read: {error}.", key="error.catalog", name=path.name) from error
    if len({spec.id for spec in specs}) != len(specs):
        raise BadFileError(f"The model list {path.name} has one id twice.", key="error.catalog", name=path.name)
    return Catalog(specs)


def spec_from_json(values: Mapping[str, Any]) -> ModelSpec:
    """Rebuild a spec that went through JSON; raises ValueError on unknown or missing fields."""
    return _spec(values)


def parse_source(source: str) -> Source:
    """Take a source apart; raises ValueError for a form that does not exist."""
    kind, _, rest = source.partition(":")
    if kind == "wheel":
        requirement, _, member = rest.partition(":")
        package, _, version = requirement.partition("==")
        if package and version and member:
            return WheelSource(package, version, member)
    elif kind == "hub":
        repo, _, revision = rest.partition("@")
        if repo.count("/") == 1:
            return HubSource(repo, revision or "main")
    elif kind == "local" and rest:
        return LocalSource(Path(rest))
    elif kind == "openai":
        url, _, model = rest.partition("#")
        if url.startswith(("http://", "https://")) and model:
            return ServerSource(url.rstrip("/"), model)
    elif kind == "assets" and rest:
        return AssetsSource(rest)
    raise ValueError(f"unknown model source {source!r}")


def _spec(row: Mapping[str, Any]) -> ModelSpec:
    known = {f.name for f in fields(ModelSpec)}
    unknown = set(row) - known
    if unknown:
        raise ValueError(f"unknown fields {sorted(unknown)}")
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    spec = ModelSpec(**values)
    if spec.task not in TASKS:
        raise ValueError(f"unknown task {spec.task!r}")
    parse_source(spec.source)
    return spec
