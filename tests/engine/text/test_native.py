"""The form in C: other sizes and weights, two sets of instructions, threads, and what it is not given."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.arrays import Floats
from engine.text.kv import GrowingLayer
from engine.text.llama.backend import LlamaBackend
from engine.text.llama.config import LINEARS, llama_config
from engine.text.llama.grid import GROUP
from engine.text.llama.native import library, tiles
from engine.text.llama.native import weights as native_weights
from engine.text.llama.native.form import NativeForm
from engine.text.llama.weights import read_weights
from tests.engine.text.test_llama import KINDS
from tests.tiny import CPU, make_model, make_packable, on_grid

IDS = [5, 9, 200, 31, 7, 7, 120, 64, 3, 18, 77, 250]
pytestmark = pytest.mark.skipif(not any(map(shutil.which, library.COMPILERS)), reason="there is no C compiler")
SETS = {"this CPU": "-march=native", "AVX2": "-mavx2 -mfma -mf16c"}


class Rounded:
    """A linear layer as step.c is to compute it, in plain torch: activations rounded to 8 bits in groups."""

    nbytes = 0

    def __init__(self, packed: tiles.Tiles) -> None:
        self._weight = torch.from_numpy(tiles.unpacked(packed))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        groups = x.view(len(x), -1, GROUP)
        scale = groups.abs().amax(-1, keepdim=True) / 127
        return torch.nn.functional.linear(((groups / scale.clamp_min(1e-30)).round() * scale).view(x.shape), self._weight)


class HalfLayer(GrowingLayer):
    """Keys and values in half precision, as step.c keeps them."""

    def append(self, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return super().append(keys.half().float(), values.half().float())


def native(folder: Path, flags: str, monkeypatch: pytest.MonkeyPatch) -> tuple[LlamaBackend, LlamaBackend]:
    """(the model in C, compiled with these flags; what it is to compute)."""
    config = llama_config(json.loads((folder / "config.json").read_text()), CPU)
    assert config is not None
    weights = read_weights(folder, config)
    monkeypatch.setattr(library, "_FLAGS", ("-O2", "-fopenmp", "-fPIC", *flags.split()))
    library.compile_library(folder / "step.so")
    packed = native_weights.pack(weights)
    form = NativeForm(library.Library(folder / "step.so"), packed, config)
    rounded: list[Any] = [
        replace(layer, **{name: Rounded(getattr(own, name)) for name in LINEARS})
        for layer, own in zip(weights.layers, packed.layers, strict=True)
    ]
    oracle = replace(
        weights, layers=tuple(rounded), embedding=torch.from_numpy(tiles.unpacked(packed.embedding)), head=Rounded(packed.head)
    )
    expected = LlamaBackend(config, lambda: oracle)
    monkeypatch.setattr(expected.float32(), "new_layers", lambda: [HalfLayer() for _ in range(config.layers)])
    return LlamaBackend(config, lambda: weights, form), expected


def stepped(backend: LlamaBackend, prompt: Sequence[int]) -> Floats:
    """Logits after each of IDS, behind a prompt."""
    cache = backend.new_cache()
    backend.prefill(cache, prompt)
    return np.stack([backend.step(cache, token) for token in IDS])


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="instructions of x86")
@pytest.mark.parametrize("flags", SETS.values(), ids=SETS)
@pytest.mark.parametrize(("heads", "width"), [(6, 80), (2, 48), (12, 16)])
def test_other_sizes_and_weights_of_8_bits(
    tmp_path: Path, flags: str, heads: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"hidden_size": 96, "intermediate_size": 160, "num_attention_heads": heads, "head_dim": width}
    folder = make_model(tmp_path / "model", tie_word_embeddings=False, **sizes)
    ours, theirs = native(folder, flags, monkeypatch)
    assert ours.new_cache().form.name == "int8, native"
    for count in (1, 3, 7, 40):
        found = []
        for backend in (ours, theirs):
            found.append(stepped(backend, [number * 5 % 256 for number in range(count)]))
        assert np.abs(found[0] - found[1]).mean() < 0.01 * np.abs(found[1]).mean()


@pytest.mark.parametrize(("kind", "changes"), KINDS.values(), ids=KINDS)
def test_other_kinds_of_llamas(tmp_path: Path, kind: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_model(tmp_path / "model", kind=kind, **{"head_dim": 16, **changes})
    ours, theirs = native(folder, "-march=native", monkeypatch)
    found = [stepped(backend, [number * 5 % 256 for number in range(100)]) for backend in (ours, theirs)]
    assert np.abs(found[0] - found[1]).mean() < 0.03 * np.abs(found[1]).mean()


def test_threads_change_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _ = native(make_packable(tmp_path / "model"), "-march=native", monkeypatch)
    found = []
    for threads in (1, 2, 3):
        ours.use_threads(threads)
        found.append(stepped(ours, IDS[:4]))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_tiles_hold_4_bits_exactly_and_8_bits_nearly() -> None:
    torch.manual_seed(0)
    weight = torch.randn(48, 96).numpy()
    grid = on_grid(torch.from_numpy(weight)).numpy()
    assert tiles.pack4(weight) is None
    packed = tiles.pack4(grid)
    assert packed is not None
    np.testing.assert_allclose(tiles.unpacked(packed), grid, rtol=2e-3, atol=2e-3)
    rounded = tiles.pack8(weight[:37])
    assert rounded.outputs == 37
    np.testing.assert_allclose(tiles.unpacked(rounded), weight[:37], rtol=0, atol=0.02)


def test_tokens_that_the_model_does_not_have_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _ = native(make_packable(tmp_path / "model"), "-march=native", monkeypatch)
    cache = ours.new_cache()
    for ids in ([258], [-1], [3] * 513):
        with pytest.raises(IndexError):
            ours.prefill(cache, ids)
    assert cache.length == 0
    ours.prefill(cache, [257] * 512)
