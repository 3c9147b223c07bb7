"""Databases with something of everything in them, for tests that move or damage them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from storage.bundle import read_bundle, write_bundle
from storage.database import Database, open_database
from storage.files import FileStore


@dataclass(frozen=True)
class Filled:
    """Ids of what fill() made."""

    conversation_id: str
    first_id: str
    second_id: str
    picture_id: str
    job_id: str


def fill(database: Database, files: FileStore | None = None, *, owner_id: str = "owner", mark: str = "") -> Filled:
    """A conversation of two turns, a picture with its file, ratings with history, choices, a job, a persona, a model."""
    picture = f"media/{owner_id}{mark}.png"
    sha256 = files.put(picture, f"picture of {owner_id}{mark}".encode() * 1000) if files else "0" * 64
    with database.write() as uow:
        thread = uow.conversations.add(owner_id, title=f"A talk {mark} 谈话", system="Be kind.")
        job, _ = uow.jobs.add(owner_id, kind="write", request={"prompt": "早上好"}, idempotency_key=f"click{mark}")
        first = uow.creations.add(
            owner_id,
            kind="text",
            prompt="写一首关于小猫咪的诗",
            model_id="m1",
            conversation_id=thread.id,
            job_id=job.id,
            output="春天的花园里，小猫咪睡着了。",
            status="done",
            seed=2**53 - 1,
            params={"temperature": 0.7, "top_p": 1e-05, "big": 1e22, "stop": ["\n"], "é": None},
            path={"segments": [["prefill", 3], ["decode", 1]]},
            ttft_s=0.1,
            duration_s=1 / 3,
            tags=("诗", "draft"),
        )
        second = uow.creations.add(
            owner_id,
            kind="text",
            prompt="And in English?",
            model_id="m1",
            context_id=first.id,
            parent_id=first.id,
            output="Café.",
        )
        drawn = uow.creations.add(
            owner_id, kind="image", prompt="a cat", model_id="m2", media_name=picture, media_sha256=sha256, starred=True
        )
        uow.conversations.update(owner_id, thread.id, head_id=second.id)
        uow.creations.trash(owner_id, [drawn.id])
        uow.ratings.set(owner_id, first.id, -0.5, ("unclear",), "hm")
        uow.ratings.set(owner_id, first.id, 1, ("clear", "creative"), "好")
        uow.preferences.set(owner_id, first.id, second.id, source="ratings", is_explicit=False)
        uow.preferences.set(owner_id, second.id, first.id, source="pick", is_explicit=True)
        uow.personas.add(owner_id, name="Editor", system="You edit.")
        uow.models.add(owner_id, name="Mine", task="text", source="local:/models/mine", config={"context_length": 2048})
        uow.settings.set(owner_id, "theme", "dark")
        uow.settings.set(owner_id, "nothing", None)
        uow.commit()
    return Filled(thread.id, first.id, second.id, drawn.id, job.id)


class Studio:
    """A database with its files."""

    def __init__(self, url: str, folder: Path) -> None:
        self.database = open_database(url)
        self.files = FileStore(folder / "files")
        self.folder = folder

    def write(self, name: str = "out.zip", owner_id: str | None = None) -> Path:
        write_bundle(self.database, self.files, self.folder / name, owner_id=owner_id, created_by="Tastemaker test")
        return self.folder / name

    def read(self, path: Path, owner_id: str | None = None) -> dict[str, dict[str, int]]:
        return read_bundle(self.database, self.files, path, owner_id=owner_id)


def is_empty(studio: Studio) -> bool:
    with studio.database.read() as uow:
        rows = uow.connection.exec_driver_sql("SELECT (SELECT count(*) FROM creations) + (SELECT count(*) FROM conversations)")
        return rows.scalar_one() == 0 and studio.files.names() == () and uow.settings.all("owner") == {}
