"""A blind test and a promotion with the real starter model and a random adapter on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import GateError
from engine.jobs.job import CancelToken
from engine.models.catalog import STARTER_TEXT_ID
from engine.models.store import ModelStore
from engine.text.local import LocalTextModel
from engine.text.model import GenerateRequest, Message, Sampling
from storage.records import BASE, AdapterRecord, CreationRecord
from tests.engine.services.arena_parts import BASE_SHA256, ArenaStudio, arena_studio, for_adapter
from tests.engine.services.arena_parts import make_adapter as keep_adapter
from tests.engine.services.studio_parts import OWNER
from tests.starter import starter_catalog, starter_models, starter_text_model
from tests.tiny import make_adapter

pytestmark = pytest.mark.integration

SEED = 11
WAIT_S = 900.0
"""The real model on a busy machine."""
PROMPTS = ("Write a line about rain.", "Describe a cat.", "Explain tea.")


@pytest.fixture(scope="module")
def model() -> Iterator[LocalTextModel]:
    loaded = starter_text_model()
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("random") / "adapter"
    base = ModelStore(starter_models()).path(starter_catalog().get(STARTER_TEXT_ID))
    make_adapter(base, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name.startswith("adapter_")}


@pytest.fixture
def arena(tmp_path: Path, model: LocalTextModel) -> Iterator[ArenaStudio]:
    with arena_studio(tmp_path, model) as parts:
        parts.studio.models.installed.add(STARTER_TEXT_ID)
        yield replace(parts, wait_s=WAIT_S)


@pytest.fixture
def adapter(arena: ArenaStudio, files: dict[str, bytes]) -> AdapterRecord:
    return keep_adapter(arena.studio, "Random", model_id=STARTER_TEXT_ID, files=files)


def alone(model: LocalTextModel, prompt: str, seed: int) -> str:
    request = GenerateRequest((Message("user", prompt),), Sampling(max_new_tokens=12), (seed,))
    return "".join(event.delta for event in model.generate(request, CancelToken())).strip()


def wrote(arena: ArenaStudio, prompt: str) -> CreationRecord:
    started = arena.studio.write(prompt, model=STARTER_TEXT_ID, seed=SEED, max_new_tokens=12)
    snapshot = arena.studio.runner.wait(started.job_id, WAIT_S)
    assert snapshot is not None and snapshot.status == "done"
    return arena.studio.row(started.creation_ids[0])


def test_both_sides_of_every_match_come_from_their_own_weights(
    arena: ArenaStudio, adapter: AdapterRecord, model: LocalTextModel
) -> None:
    wrote(arena, "hello")  # short answers, as this owner always asks for
    run_id = arena.evaluate(adapter.id, n=2, seed=SEED, prompts=PROMPTS)
    for match in arena.matches(run_id):
        sides = {match.left_sha256: match.left_output, match.right_sha256: match.right_output}
        assert set(sides) == {adapter.sha256, BASE_SHA256}
        # Batched arithmetic may differ in the last bits, so a base answer is compared by how it begins.
        again = alone(model, match.prompt, SEED + int(match.metrics["prompt"]))
        assert sides[BASE_SHA256].split()[:2] == again.split()[:2]
        assert sides[adapter.sha256] != sides[BASE_SHA256]
        assert match.metrics["left"]["perplexity"] > 1 and match.metrics["right"]["perplexity"] > 1
    arena.vote_all(run_id, for_adapter(adapter))
    result = arena.arena.result(OWNER, OWNER, run_id)
    assert result["wins"] == 2 and result["automatic"]["current"]["perplexity"] > 1
    with pytest.raises(GateError, match="2 votes prove nothing"):
        arena.studio.adapters.promote(OWNER, adapter.id)


def test_promoting_and_rolling_back_switch_the_next_answer(arena: ArenaStudio, adapter: AdapterRecord) -> None:
    before = wrote(arena, "Name a colour.")
    arena.studio.adapters.promote(OWNER, adapter.id, override="to see")
    during = wrote(arena, "Name a colour.")
    arena.studio.adapters.roll_back(OWNER, "text", STARTER_TEXT_ID)
    after = wrote(arena, "Name a colour.")
    assert (before.adapter_id, during.adapter_id, after.adapter_id) == (BASE, adapter.id, BASE)
    assert (before.path["adapter"], during.path["adapter"]) == (BASE, adapter.sha256)
    assert before.output == after.output != during.output
    arena.studio.adapters.promote(OWNER, adapter.id, override="again")
    again = arena.studio.runner.wait(arena.studio.text.reproduce(OWNER, during.id), WAIT_S)
    assert again is not None and again.result == {"text": during.output, "identical": True, "creation_id": during.id}
