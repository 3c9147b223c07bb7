"""The starter model takes what the host counts on before it is loaded: never a tenth more, and nearly all of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.models.catalog import STARTER_ENCODER_ID, STARTER_IMAGE_ID, STARTER_TEXT_ID
from engine.models.folder import read_json, read_weights
from engine.models.needs import need_of
from engine.models.store import ModelStore
from engine.text.footprint import footprint
from engine.text.llama.native.library import COMPILERS
from tests.starter import starter_catalog, starter_models
from tests.tiny import CPU

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the process's own pages")
@pytest.mark.parametrize("form", ["--plain", "packed"])
def test_the_estimate_is_what_is_measured(form: str) -> None:
    starter_models()
    command = [sys.executable, "-m", "bench.residency", *([form] if form == "--plain" else [])]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    # What libraries keep, and what the allocator does, is the same for a model of any size.
    highest, loaded, always = found["highest"], found["loaded"], 64 * 2**20
    assert 0.9 * highest < found["highest_estimated"] < 1.15 * highest + always
    assert abs(found["weights_estimated"] - loaded) < 0.1 * loaded + always / 2
    assert 0.85 * highest - always < found["counted_by_the_model"] <= highest
    assert found["left_when_closed"] < 0.15 * loaded + always


@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="there is no C compiler")
def test_the_form_in_c_writes_and_scores_without_torch() -> None:
    starter_models()
    script = """
import sys
from engine.jobs.job import CancelToken
from engine.text.model import GenerateRequest, Message, Sampling
from tests.starter import starter_text_model
model = starter_text_model()
asked = (Message("user", "Hello"),)
events = list(model.generate(GenerateRequest(asked, Sampling(max_new_tokens=8)), CancelToken()))
model.score(asked, "Hello there.")
print(events[-1].path["dtype"], "torch" in sys.modules)
model.close()
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "int4, native False"


def test_the_catalogue_says_what_the_host_says() -> None:
    store, catalog = ModelStore(starter_models(), ROOT / "assets"), starter_catalog()
    for model_id in (STARTER_TEXT_ID, STARTER_ENCODER_ID, STARTER_IMAGE_ID):
        spec = catalog.get(model_id)
        need = need_of(spec, store.path(spec), CPU, store.path(spec) / "nothing", 10**12)
        assert need.held_bytes == pytest.approx(spec.memory_on("cpu"), rel=0.1), model_id
        assert need.least_bytes < max(spec.min_memory_bytes, need.held_bytes * 2.2), model_id


def test_sixteen_bit_weights_count_twice_on_a_cpu() -> None:
    store, spec = ModelStore(starter_models()), starter_catalog().get(STARTER_TEXT_ID)
    folder = store.path(spec)
    weights = read_weights(folder)
    assert read_json(folder / "config.json")["dtype"] == "bfloat16"
    need = need_of(spec, folder, CPU, folder / "nothing", 10**12)
    assert need.held_bytes == 4 * weights.parameters == pytest.approx(2 * weights.size_bytes, rel=0.01)
    assert footprint(read_json(folder / "config.json"), 4).token_bytes == 2 * 30 * 3 * 64 * 4
