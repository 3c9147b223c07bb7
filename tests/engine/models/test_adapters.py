"""An adapter's files: what is read, and every way in which one is refused before anything is computed with it."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import BadFileError
from engine.models.adapters import BASE, AdapterRef, load_lora, sha256_of
from tests.tiny import LINEARS, make_adapter, make_model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> AdapterRef:
    root = tmp_path_factory.mktemp("made")
    return make_adapter(make_model(root / "model"), root / "adapter")


@pytest.fixture
def folder(made: AdapterRef, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(made.folder, tmp_path / "adapter"))


def change_config(folder: Path, **values: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def change_tensors(folder: Path, change: Any) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def first(tensors: dict[str, torch.Tensor]) -> str:
    return sorted(tensors)[0]


def test_what_peft_wrote_is_read(made: AdapterRef) -> None:
    weights = load_lora(made.folder, made.sha256)
    assert weights.sha256 == made.sha256 == sha256_of(made) and sha256_of(None) == BASE
    assert weights.scaling == 2.0 and len(weights.modules) == 2 * len(LINEARS)
    down, up = weights.modules["model.layers.1.mlp.down_proj"]
    assert down.shape == (4, 64) and up.shape == (32, 4) and down.dtype == np.float32
    assert weights.size_bytes == sum(tensor.nbytes for tensor in load_file(made.folder / "adapter_model.safetensors").values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_number_types_become_float32(folder: Path, dtype: torch.dtype) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(path).items()}
    save_file(tensors, path)
    modules = load_lora(folder).modules
    expected = tensors["base_model.model.model.layers.1.mlp.down_proj.lora_A.weight"].float().numpy()
    assert np.array_equal(modules["model.layers.1.mlp.down_proj"][0], expected)


def test_rank_stabilised_scaling(folder: Path) -> None:
    change_config(folder, use_rslora=True)
    assert load_lora(folder).scaling == 4.0


def test_one_flipped_bit_is_noticed(made: AdapterRef, folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadFileError, match="not the ones that were trained"):
        load_lora(folder, made.sha256)


def test_a_cut_or_missing_file_is_refused(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadFileError, match="no safetensors"):
        load_lora(folder)
    path.unlink()
    with pytest.raises(BadFileError, match="is missing"):
        load_lora(folder)
    with pytest.raises(BadFileError):
        load_lora(folder / "nowhere")


def test_a_pickle_is_never_opened(folder: Path, tmp_path: Path) -> None:
    class Opened:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "opened",)

    path = folder / "adapter_model.safetensors"
    path.write_bytes(pickle.dumps(Opened()))
    with pytest.raises(BadFileError, match="no safetensors"):
        load_lora(folder)
    path.rename(folder / "adapter_model.bin")
    with pytest.raises(BadFileError, match="pickle"):
        load_lora(folder)
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.update({first(t): torch.ones(3, 3)}), "do not fit together"),
        (lambda t: t.pop(first(t)), "do not fit together"),
        (lambda t: t.update({first(t): torch.ones(4)}), "no usable numbers"),
        (lambda t: t.update({first(t): torch.full_like(t[first(t)], float("nan"))}), "no usable numbers"),
        (lambda t: t.update({"base_model.model.lm_head.weight": torch.ones(2, 2)}), "no low-rank weight"),
        (lambda t: t.update({"base_model.model.model.embed_tokens.lora_embedding_A": torch.ones(2, 2)}), "no low-rank weight"),
        (lambda t: t.clear(), "is empty"),
    ],
)
def test_tensors_that_are_no_lora_are_refused(folder: Path, change: Any, words: str) -> None:
    change_tensors(folder, change)
    with pytest.raises(BadFileError, match=words):
        load_lora(folder)


@pytest.mark.parametrize(
    "values",
    [
        {"peft_type": "LOHA"},
        {"use_dora": True},
        {"bias": "all"},
        {"modules_to_save": ["lm_head"]},
        {"rank_pattern": {"q_proj": 8}},
        {"init_lora_weights": "pissa"},
        {"fan_in_fan_out": True},
        {"r": 0},
        {"lora_alpha": "16"},
        {"auto_map": {"AutoModel": "code.py"}},
    ],
)
def test_other_kinds_and_bad_settings_are_refused(folder: Path, values: dict[str, Any]) -> None:
    change_config(folder, **values)
    with pytest.raises(BadFileError):
        load_lora(folder)
