"""The plain backend computes what transformers computes, in every way that rows are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.arrays import Floats
from engine.device import Device
from engine.errors import BadFileError
from engine.text.backend import TextBackend
from engine.text.llama.backend import LlamaBackend, load_llama
from engine.text.llama.config import llama_config
from engine.text.transformers_backend import TransformersBackend
from tests.tiny import CPU, make_model

IDS = [5, 9, 200, 31, 7, 7, 120, 64, 3, 18, 77, 250]


def config_of(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


def plain(folder: Path) -> LlamaBackend:
    config = llama_config(config_of(folder), CPU)
    assert config is not None
    return load_llama(folder, config)


def written(backend: TextBackend, chunks: list[list[int]]) -> Floats:
    """Logits after each token of the last chunk's steps; the chunks before are prefilled."""
    cache = backend.new_cache()
    for chunk in chunks[:-1]:
        backend.prefill(cache, chunk)
    return np.stack([backend.step(cache, token) for token in chunks[-1]])


@pytest.mark.parametrize("chunks", [[IDS], [IDS[:6], IDS[6:]], [IDS[:4], IDS[4:9], IDS[9:]], [IDS[:1], IDS[1:2], IDS[2:]]])
@pytest.mark.parametrize("tied", [True, False])
def test_logits_are_those_of_transformers(tmp_path: Path, chunks: list[list[int]], tied: bool) -> None:
    folder = make_model(tmp_path / "model", tie_word_embeddings=tied)
    ours, theirs = (written(backend, chunks) for backend in (plain(folder), TransformersBackend(folder, CPU, lambda: 0)))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


LLAMA3 = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "mistral": ("Mistral", {"sliding_window": None}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {}),
    "smollm3": ("SmolLM3", {"num_hidden_layers": 5}),
    "llama 3.1": ("Llama", {"rope_parameters": {**LLAMA3, "original_max_position_embeddings": 64}}),
}


@pytest.mark.parametrize(("kind", "changes"), KINDS.values(), ids=KINDS)
def test_other_kinds_of_llamas_are_those_of_transformers(tmp_path: Path, kind: str, changes: dict[str, Any]) -> None:
    folder = make_model(tmp_path / "model", kind=kind, **{"head_dim": 16, **changes})
    assert config_of(folder)["architectures"] == [f"{kind}ForCausalLM"]
    chunks = [[number * 5 % 256 for number in range(100)], IDS]
    ours, theirs = (written(backend, chunks) for backend in (plain(folder), TransformersBackend(folder, CPU, lambda: 0)))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_weights_are_counted_and_the_head_is_kept_once_when_tied(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model", tie_word_embeddings=True)
    assert plain(folder).size_bytes == sum(tensor.numel() * 4 for tensor in load_file(folder / "model.safetensors").values())


def test_a_fork_goes_its_own_way_and_the_original_does_not_notice(tmp_path: Path) -> None:
    backend = plain(make_model(tmp_path / "model"))
    cache = backend.new_cache()
    backend.prefill(cache, IDS[:8])
    fork = backend.fork(cache, 8)
    expected = written(backend, [IDS[:8], [1, 2]])
    backend.step(fork, 99)
    assert np.array_equal(np.stack([backend.step(cache, token) for token in (1, 2)]), expected)


@pytest.mark.parametrize(
    "change",
    [
        {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}},
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        {"attention_bias": True},
        {"hidden_act": "gelu"},
        {"model_type": "mistral"},
        {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 64},
        {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "use_sliding_window": True, "sliding_window": 64},
        {"architectures": ["LlamaForSequenceClassification"]},
        {"quantization_config": {"bits": 4}},
    ],
)
def test_what_it_does_not_compute_goes_through_transformers(tmp_path: Path, change: dict[str, Any]) -> None:
    config = config_of(make_model(tmp_path / "model"))
    assert llama_config(config, CPU) is not None
    assert llama_config({**config, **change}, CPU) is None
    assert llama_config(config, Device("cuda:0", "bfloat16", 1)) is None


def test_weights_that_do_not_fit_the_config_are_refused(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "model.norm.weight": torch.ones(5)}, folder / "model.safetensors")
    with pytest.raises(BadFileError, match="model.norm.weight has the shape"):
        plain(folder)
    save_file({name: tensor for name, tensor in weights.items() if name != "model.norm.weight"}, folder / "model.safetensors")
    with pytest.raises(BadFileError, match="it has no model.norm.weight"):
        plain(folder)
