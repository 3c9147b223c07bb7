"""Recorded steps, fewer bits and rows in company on a real GPU: `pytest tests/engine/text/cuda.py`, with bitsandbytes installed.

Not among the tests that everybody runs, of which none may be skipped.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.device import choose_device
from engine.text import transformers_backend
from engine.text.transformers_backend import TransformersBackend
from tests.tiny import make_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny"), hidden_size=128, intermediate_size=256, initializer_range=0.1)


@pytest.mark.parametrize("bits", [None, 8, 4])
def test_steps_on_a_gpu(folder: Path, bits: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    device = choose_device("cuda")
    recorded = TransformersBackend(folder, device, lambda: 2**40, bits)
    monkeypatch.setattr(transformers_backend, "recorder", lambda device: None)
    alone = TransformersBackend(folder, device, lambda: 2**40, bits)
    caches = [backend.new_cache() for backend in (recorded, alone, recorded, recorded)]
    for number, cache in enumerate(caches):
        (alone if number == 1 else recorded).prefill(cache, range(2, 40 if number < 3 else 20))
    if bits != 8:  # its outliers are looked for by the processor, which a graph cannot wait for
        assert recorded.facts(caches[0])["steps"] == "recorded"
    for token in range(2, 30):
        ours, theirs = recorded.step(caches[0], token), alone.step(caches[1], token)
        assert np.abs(ours - theirs).mean() < 0.05 * theirs.std()
        if recorded.is_row_by_row(caches[0]):
            together = recorded.step_together([caches[3], caches[2]], [token, token])
            assert np.array_equal(together[1], ours)
