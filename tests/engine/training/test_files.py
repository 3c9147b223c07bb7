"""What training leaves on the disk: checkpoints that prove they are whole, adapters that appear at once, a picture."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.errors import BadFileError
from engine.training import artifact, checkpoints
from engine.training.picture import draw, merged, smooth


def write_checkpoint(folder: Path, step: int, *, whole: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    for name in ("adapter_model.safetensors", "optimizer.pt", "trainer_state.json"):
        (path / name).write_bytes(f"{name} of step {step}".encode())
    if whole:
        checkpoints.complete(path)
    return path


def test_the_newest_whole_checkpoint_is_resumed_from_and_broken_ones_are_named(tmp_path: Path) -> None:
    assert checkpoints.newest(tmp_path) == (None, ())
    write_checkpoint(tmp_path, 8)
    write_checkpoint(tmp_path, 16)
    changed = write_checkpoint(tmp_path, 24)
    (changed / "optimizer.pt").write_bytes(b"other bytes")
    write_checkpoint(tmp_path, 32, whole=False)
    newest, broken = checkpoints.newest(tmp_path)
    assert newest is not None and newest.step == 16 and broken == ("checkpoint-32", "checkpoint-24")


@pytest.mark.parametrize(
    "marker", ["", "{", "[]", '{"step": 8}', '{"step": 8, "sha256": {}}', '{"step": 9, "sha256": {"a": "b"}}']
)
def test_a_marker_that_proves_nothing_is_no_marker(tmp_path: Path, marker: str) -> None:
    path = write_checkpoint(tmp_path, 8)
    (path / checkpoints.MARKER).write_text(marker, encoding="utf-8")
    assert checkpoints.newest(tmp_path) == (None, ("checkpoint-8",))


def test_a_missing_file_breaks_it(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, 8)
    (path / "trainer_state.json").unlink()
    assert checkpoints.newest(tmp_path)[0] is None


def test_two_are_kept_and_a_broken_one_never_costs_a_whole_one(tmp_path: Path) -> None:
    for step in (8, 16):
        write_checkpoint(tmp_path, step)
    write_checkpoint(tmp_path, 20, whole=False)
    write_checkpoint(tmp_path, 24)
    names = sorted(path.name for path in tmp_path.iterdir() if (path / checkpoints.MARKER).is_file())
    assert names == ["checkpoint-16", "checkpoint-24"]


def manifest() -> dict[str, Any]:
    return {
        "adapter_id": "a",
        "run_id": "r",
        "task": "text",
        "base_model_id": "tiny",
        "base_sha256": "0" * 64,
        "recipe": "dpo",
        "settings": {"lora_rank": 4},
        "dataset_sha256": "1" * 64,
        "metrics": {"held_out_accuracy": 1.0},
    }


def write_part(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / artifact.WEIGHTS).write_bytes(b"weights")
    (folder / artifact.CONFIG).write_text("{}", encoding="utf-8")
    return folder


def test_an_adapter_appears_whole_and_is_verified(tmp_path: Path) -> None:
    target = tmp_path / "adapters" / "a"
    written = artifact.publish(write_part(tmp_path / "adapters" / ".a.part"), target, manifest())
    assert {path.name for path in target.iterdir()} == {artifact.WEIGHTS, artifact.CONFIG, artifact.MANIFEST}
    assert artifact.verify(target) == artifact.read_manifest(target) == written
    assert written.size_bytes == 7 and len(written.sha256) == 64
    again = artifact.publish(write_part(tmp_path / "adapters" / ".a.part"), target, {**manifest(), "run_id": "r2"})
    assert artifact.verify(target) == again and again.run_id == "r2"


@pytest.mark.parametrize("name", [artifact.WEIGHTS, artifact.CONFIG, artifact.MANIFEST])
@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_adapter_is_refused_by_name(tmp_path: Path, name: str, damage: str) -> None:
    target = tmp_path / "a"
    artifact.publish(write_part(tmp_path / ".a.part"), target, manifest())
    (target / name).unlink()
    if damage == "changed":
        (target / name).write_bytes(b"weightt")
    with pytest.raises(BadFileError, match="a is damaged"):
        artifact.verify(target)


def test_a_manifest_of_another_version_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "a"
    artifact.publish(write_part(tmp_path / ".a.part"), target, manifest())
    value = json.loads((target / artifact.MANIFEST).read_text(encoding="utf-8"))
    (target / artifact.MANIFEST).write_text(json.dumps({**value, "format": 99}), encoding="utf-8")
    with pytest.raises(BadFileError, match="version"):
        artifact.read_manifest(target)
    shutil.rmtree(target)
    with pytest.raises(BadFileError):
        artifact.read_manifest(target)


def test_a_picture_is_drawn_from_whatever_was_recorded(tmp_path: Path) -> None:
    rows = [{"kind": "metrics", "step": step, "loss": 1 / (step + 1), "accuracy": 0.5} for step in range(30)]
    events = [{"kind": "phase", "phase": "train"}, *rows, {"kind": "metrics", "step": 30, "held_out_loss": 0.3}]
    draw(events, tmp_path / "run.png", title="A run")
    draw([], tmp_path / "empty.png")
    for name in ("run.png", "empty.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.png", "run.png"]


def test_steps_that_were_taken_again_are_drawn_once() -> None:
    killed = [{"step": step, "loss": 1.0} for step in (1, 2, 3, 4)]
    resumed = [{"step": 3, "loss": 0.5}, {"step": 3, "held_out_loss": 0.7}, {"step": 4, "loss": 0.4}]
    assert merged([*killed, *resumed]) == [*killed[:2], {"step": 3, "loss": 0.5, "held_out_loss": 0.7}, {"step": 4, "loss": 0.4}]


def test_smoothing_keeps_a_constant_and_starts_at_the_first_value() -> None:
    assert smooth([2.0, 2.0, 2.0]) == pytest.approx([2.0, 2.0, 2.0])
    curve = smooth([0.0, 1.0, 0.0, 1.0])
    assert curve[0] == 0.0 and all(0 < value < 1 for value in curve[1:])
