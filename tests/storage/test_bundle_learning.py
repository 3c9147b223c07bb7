"""Bundles with what was learned: rows and weights come back to the byte, and nothing comes in that was not earned."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.errors import BundleError
from tests.postgres import PostgresCluster
from tests.storage.filled import Learned, Studio, fill, fill_learning, is_empty
from tests.storage.test_bundle_hostile import change_row, rewrite

WEIGHTS = "adapters/owner-adapter/adapter_model.safetensors"


def learn(studio: Studio, owner_id: str = "owner") -> Learned:
    filled = fill(studio.database, studio.files, owner_id=owner_id)
    return fill_learning(studio.database, studio.stores, filled, owner_id=owner_id)


def test_what_was_learned_comes_back_to_the_byte(new_studio: Callable[[], Studio]) -> None:
    first = new_studio()
    learned = [learn(first, owner) for owner in ("owner", "bob")]
    for owner_id in (None, "owner"):
        out = first.write("a.zip", owner_id)
        target = new_studio()
        counts = target.read(out)
        mine = 2 if owner_id is None else 1
        assert {name: counts[name]["added"] for name in ("adapters", "votes", "promotions", "dataset_rows", "prompt_splits")} == {
            "adapters": mine, "votes": 4 * mine, "promotions": mine, "dataset_rows": 2 * mine, "prompt_splits": 2 * mine
        }  # fmt: skip
        assert counts["run_events"]["added"] == (6 if owner_id is None else 0)
        assert target.write("b.zip", owner_id).read_bytes() == out.read_bytes()
        assert target.adapters.names() == first.adapters.names()[-3 * mine :]
        assert target.read(out)["adapters"] == {"added": 0, "skipped": mine}
        assert target.write("b.zip", owner_id).read_bytes() == out.read_bytes()
    with first.database.read() as a, target.database.read() as b:
        one = learned[0]
        assert b.adapters.get("owner", one.adapter_id).marks == a.adapters.get("owner", one.adapter_id).marks
        assert [r.source_ids for r in b.datasets.rows("owner", one.dataset_id)] == [
            r.source_ids for r in a.datasets.rows("owner", one.dataset_id)
        ]
        current = b.votes.current("owner", one.match_ids)
        assert {vote.choice for vote in current.values()} == {"tie"}
        assert b.promotions.current("owner", "text", "m1") is not None and b.adapters.list("bob") == ()


@pytest.mark.postgres
def test_what_was_learned_moves_between_databases(postgres_cluster: PostgresCluster, studio: Studio, tmp_path: Path) -> None:
    learn(studio)
    there = Studio(postgres_cluster.create_database(), tmp_path / "there")
    there.read(studio.write())
    assert there.write().read_bytes() == studio.write().read_bytes()
    there.database.close()


def test_what_is_promoted_here_stays_so(studio: Studio, tmp_path: Path) -> None:
    learned = learn(studio)
    path = studio.write(owner_id="owner")
    target = Studio(f"sqlite:///{tmp_path / 'target.sqlite3'}", tmp_path / "target")
    with target.database.write() as uow:
        switch = {"task": "text", "base_model_id": "m1", "adapter_id": "base", "previous_id": "mine"}
        mine = uow.promotions.add("owner", **switch)
        uow.commit()
    counts = target.read(path, "owner")
    assert counts["promotions"] == {"added": 0, "skipped": 1} and counts["adapters"]["added"] == 1
    with target.database.read() as uow:
        assert uow.promotions.history("owner") == (mine,)
        assert uow.adapters.get("owner", learned.adapter_id).sha256
    target.database.close()


def test_an_older_bundle_without_learning_is_read(studio: Studio, tmp_path: Path) -> None:
    fill(studio.database, studio.files)
    old = ("conversations", "creations", "ratings", "preferences", "jobs", "personas", "models", "settings")

    def first_format(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
        for name in [name for name in members if name.endswith(".jsonl") and name.removesuffix(".jsonl") not in old]:
            del members[name], manifest["members"][name], manifest["counts"][name.removesuffix(".jsonl")]
        manifest["format"] = 1

    target = Studio(f"sqlite:///{tmp_path / 'target.sqlite3'}", tmp_path / "target")
    assert target.read(rewrite(studio.write(), first_format))["creations"]["added"] == 3
    target.database.close()


def test_a_removed_adapter_has_no_weights_in_a_bundle_and_gets_none_from_one(studio: Studio, tmp_path: Path) -> None:
    learned = learn(studio)
    with_weights = studio.write("before.zip")
    for name in studio.adapters.names():
        studio.adapters.delete(name)
    with zipfile.ZipFile(studio.write()) as archive:
        assert len(json.loads(archive.read("manifest.json"))["missing_files"]) == 3
    with studio.database.write() as uow:
        uow.adapters.update("owner", learned.adapter_id, removed_at=uow.adapters.get("owner", learned.adapter_id).created_at)
        uow.commit()
    with zipfile.ZipFile(studio.write()) as archive:
        assert json.loads(archive.read("manifest.json"))["missing_files"] == []
        assert not [name for name in archive.namelist() if name.startswith("adapters/")]
    studio.read(with_weights)
    assert studio.adapters.names() == ()


def _other_weights(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    members[WEIGHTS] = b"poisoned"


def _pickle(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    members["adapters/owner-adapter/adapter_model.bin"] = b"evil"


def _no_config(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    for place in (members, manifest["members"]):
        del place["adapters/owner-adapter/adapter_config.json"]


def _of_nobody(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    members["adapters/evil/manifest.json"] = b"{}"


def _above(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    members["adapters/../evil/manifest.json"] = b"{}"


def _twice(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    members["dataset_rows.jsonl"] += members["dataset_rows.jsonl"]
    manifest["counts"]["dataset_rows"] *= 2
    manifest["members"]["dataset_rows.jsonl"]["rows"] = manifest["counts"]["dataset_rows"]


HOSTILE = {
    "other weights": _other_weights,
    "pickle": _pickle,
    "half an adapter": _no_config,
    "files of nobody's adapter": _of_nobody,
    "parent folder": _above,
    "adapter id as path": change_row("adapters", 0, id="../evil"),
    "adapter id with a device": change_row("adapters", 0, id="con"),
    "row of no dataset": change_row("dataset_rows", 0, dataset_id="0" * 32),
    "mark of no adapter": change_row("adapter_marks", 0, adapter_id="0" * 32),
    "adapter of no dataset": change_row("adapters", 0, dataset_id="0" * 32),
    "vote in no match": change_row("votes", 0, match_id="0" * 32),
    "input of no creation": change_row("creation_inputs", 0, creation_id="0" * 32),
    "input with a path": change_row("creation_inputs", 1, media_name="../evil.png"),
    "input with another checksum": change_row("creation_inputs", 1, media_sha256="0" * 64),
    "input of an unknown role": change_row("creation_inputs", 1, role="both"),
    "row twice": _twice,
    "unknown side": change_row("prompt_splits", 0, split="both"),
    "unknown choice": change_row("votes", 0, choice="mine"),
    "two votes in force": change_row("votes", 0, is_current=True, match_id="OTHER"),
    "messages as text": change_row("matches", 0, messages="hello"),
    "size as text": change_row("adapters", 0, size_bytes="1"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_bundle_changes_nothing(studio: Studio, tmp_path: Path, name: str) -> None:
    learn(studio)
    changed = rewrite(studio.write(owner_id="owner"), HOSTILE[name])
    target = Studio(f"sqlite:///{tmp_path / 'target.sqlite3'}", tmp_path / "target")
    for owner_id in (None, "owner"):
        with pytest.raises(BundleError):
            target.read(changed, owner_id)
        assert is_empty(target) and target.adapters.names() == ()
    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name]
    target.database.close()


def test_weights_that_lie_here_are_nobody_s_to_take_over(studio: Studio, tmp_path: Path) -> None:
    """A training that is not recorded yet has its folder: no bundle may claim or change it."""
    learn(studio)
    with_files = studio.write("with.zip", "owner")
    for name in studio.adapters.names():
        studio.adapters.delete(name)
    without = studio.write("without.zip", "owner")
    target = Studio(f"sqlite:///{tmp_path / 'target.sqlite3'}", tmp_path / "target")
    target.adapters.put("owner-adapter/adapter_model.safetensors", b"of a training here")
    for path in (with_files, without):
        with pytest.raises(BundleError):
            target.read(path, "owner")
    assert target.adapters.path("owner-adapter/adapter_model.safetensors").read_bytes() == b"of a training here"
    assert target.adapters.names() == ("owner-adapter/adapter_model.safetensors",) and is_empty_but_adapters(target)
    target.database.close()


def test_a_picture_that_lies_here_is_not_what_an_imported_creation_was_made_from(studio: Studio, tmp_path: Path) -> None:
    """Nobody gets at another one's file by naming it as the input of a creation of their own."""
    learn(studio)

    def without_mask(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
        for place in (members, manifest["members"]):
            del place["files/inputs/owner.png"]

    changed = rewrite(studio.write(owner_id="owner"), without_mask)
    target = Studio(f"sqlite:///{tmp_path / 'target.sqlite3'}", tmp_path / "target")
    target.files.put("inputs/owner.png", b"somebody else's")
    with pytest.raises(BundleError, match="not in the bundle"):
        target.read(changed, "owner")
    assert target.files.delete("inputs/owner.png") and target.read(changed, "owner")["creation_inputs"]["added"] == 2
    target.database.close()


def is_empty_but_adapters(studio: Studio) -> bool:
    with studio.database.read() as uow:
        return uow.adapters.ids() == frozenset() and studio.files.names() == ()
