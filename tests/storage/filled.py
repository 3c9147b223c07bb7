"""Databases with something of everything in them, for tests that move or damage them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.bundle import read_bundle, write_bundle
from storage.database import Database, open_database
from storage.files import FileStore, Stores
from storage.records import AdapterRecord, DatasetRow, InputRecord, RunEventRecord


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


@dataclass(frozen=True)
class Learned:
    """Ids of what fill_learning() made."""

    dataset_id: str
    adapter_id: str
    run_id: str
    match_ids: tuple[str, ...]


def fill_learning(database: Database, stores: Stores | None, filled: Filled, *, owner_id: str = "owner") -> Learned:
    """A picture's inputs, a dataset, a run with events, its adapter with files and a mark, matches, votes, promotions."""
    adapter_id = f"{owner_id}-adapter"
    weights = f"weights of {owner_id}".encode() * 100
    if stores is not None:
        for name, data in (("adapter_config.json", b"{}"), ("adapter_model.safetensors", weights), ("manifest.json", b"{ }")):
            stores.adapters.put(f"{adapter_id}/{name}", data)
    mask = f"inputs/{owner_id}.png"
    mask_sha256 = stores.media.put(mask, f"mask of {owner_id}".encode()) if stores is not None else "1" * 64
    with database.write() as uow:
        drawn = uow.creations.get(owner_id, filled.picture_id)
        picture = (drawn.media_name or "", drawn.media_sha256 or "")
        uow.inputs.add(owner_id, [InputRecord(drawn.id, "init", *picture), InputRecord(drawn.id, "mask", mask, mask_sha256)])
        choice = uow.preferences.current(owner_id, [filled.first_id])[0]
        prompt = [{"role": "user", "content": "早上好 \u2028 hello"}]
        rows = [
            DatasetRow(0, "train", {"prompt": prompt, "chosen": [], "rejected": []}, (choice.id, filled.first_id)),
            DatasetRow(1, "held_out", {"prompt": prompt, "label": True, "score": 1e-05}, (filled.picture_id,)),
        ]
        dataset = uow.datasets.add(
            owner_id, task="text", method="dpo", name="", sha256="a" * 64, filter={}, counts={"train": 1}, rows=rows
        )
        uow.datasets.set_splits(owner_id, "text", {"b" * 64: "train", "c" * 64: "held_out"})
        run, _ = uow.jobs.add(owner_id, kind="train", request={"dataset": dataset.id})
        uow.run_events.add(run.id, [RunEventRecord(run.id, n, "metrics", {"loss": 1 / n}) for n in (1, 2, 3)])
        adapter = uow.adapters.add(
            owner_id,
            id=adapter_id,
            task="text",
            name="Mine",
            base_model_id="m1",
            base_sha256="d" * 64,
            run_id=run.id,
            dataset_id=dataset.id,
            method="dpo",
            recipe="dpo",
            sha256=hashlib.sha256(weights).hexdigest(),
            size_bytes=len(weights),
            metrics={"accuracy": 0.75},
        )
        made = [uow.matches.add(owner_id, **match_fields(f"{owner_id}-evaluation", n, adapter)) for n in range(3)]
        uow.votes.set(owner_id, made[0].id, "left", "e" * 64, adapter.sha256)
        uow.votes.set(owner_id, made[0].id, "tie", "e" * 64, adapter.sha256)
        uow.votes.set(owner_id, made[1].id, "bad", "e" * 64, adapter.sha256)
        uow.votes.set(owner_id, made[1].id, None, "e" * 64, adapter.sha256)
        switch = {"task": "text", "base_model_id": "m1", "evaluation_id": f"{owner_id}-evaluation"}
        uow.promotions.add(owner_id, **switch, adapter_id=adapter.id, previous_id="base", gate={"pass": True, "reasons": []})
        uow.commit()
    return Learned(dataset.id, adapter.id, run.id, tuple(match.id for match in made))


def match_fields(evaluation_id: str, ordinal: int, adapter: AdapterRecord) -> dict[str, Any]:
    """What a Match is made of."""
    return {
        "evaluation_id": evaluation_id,
        "ordinal": ordinal,
        "prompt": f"prompt {ordinal}",
        "messages": ({"role": "user", "content": f"prompt {ordinal}"},),
        "is_held_out": ordinal == 0,
        "left_adapter_id": "base",
        "left_sha256": "e" * 64,
        "left_output": "left",
        "right_adapter_id": adapter.id,
        "right_sha256": adapter.sha256,
        "right_output": "right",
        "metrics": {"left": {"length": 1}, "right": {"length": 2.5}},
    }


class Studio:
    """A database with its files."""

    def __init__(self, url: str, folder: Path) -> None:
        self.database = open_database(url)
        self.files = FileStore(folder / "files")
        self.adapters = FileStore(folder / "adapters")
        self.stores = Stores(self.files, self.adapters)
        self.folder = folder

    def write(self, name: str = "out.zip", owner_id: str | None = None) -> Path:
        write_bundle(self.database, self.stores, self.folder / name, owner_id=owner_id, created_by="Tastemaker test")
        return self.folder / name

    def read(self, path: Path, owner_id: str | None = None) -> dict[str, dict[str, int]]:
        return read_bundle(self.database, self.stores, path, owner_id=owner_id)


def is_empty(studio: Studio) -> bool:
    with studio.database.read() as uow:
        rows = uow.connection.exec_driver_sql("SELECT (SELECT count(*) FROM creations) + (SELECT count(*) FROM conversations)")
        return rows.scalar_one() == 0 and studio.files.names() == () and uow.settings.all("owner") == {}
