"""The speed of the writing model: measured from what came, once at a time, in one sentence where it cannot be."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from engine.errors import BusyError, NoModelError, StudioError
from engine.services.speed import NEW_TOKENS, SpeedService
from engine.text.local import LocalTextModel
from tests.tiny import load_tiny, make_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTextModel]:
    loaded = load_tiny(make_model(tmp_path_factory.mktemp("tiny") / "model", context_length=8192), context_length=8192)
    loaded.chat.stop_ids = frozenset()
    yield loaded
    loaded.close()


class Host:
    """Gives one model, or fails."""

    def __init__(self, model: Any) -> None:
        self.model = model

    @contextmanager
    def use(self, model_id: str) -> Iterator[Any]:
        if self.model is None:
            raise NoModelError(f"{model_id} is not installed.")
        yield self.model


def service(model: Any) -> SpeedService:
    return SpeedService(Host(model), lambda task, owner_id: f"the {task} model")


def test_figures_are_of_one_answer_and_nothing_is_reused(model: LocalTextModel) -> None:
    speeds = [service(model).measure() for _ in range(2)]
    for speed in speeds:
        assert speed.model_id == "the text model"
        assert speed.form == "float32"
        assert speed.prompt_tokens > 1000
        assert 0 < speed.first_token_s < 60
        assert speed.read_tokens_per_s == pytest.approx(speed.prompt_tokens / speed.first_token_s)
        assert speed.write_tokens_per_s > 0
    assert speeds[1].first_token_s > speeds[0].first_token_s / 10


def test_a_second_measurement_waits_for_nobody(model: LocalTextModel) -> None:
    inside, go = threading.Event(), threading.Event()

    class Slow:
        def generate(self, request: Any, cancel: Any) -> Iterator[Any]:
            inside.set()
            go.wait(30)
            yield from model.generate(request, cancel)

    slow = service(Slow())
    results: list[Any] = []
    first = threading.Thread(target=lambda: results.append(slow.measure()))
    first.start()
    assert inside.wait(30)
    with pytest.raises(BusyError, match="measured already"):
        slow.measure()
    go.set()
    first.join(60)
    assert results and results[0].write_tokens_per_s > 0


def test_what_cannot_be_measured_is_said_and_can_be_tried_again(model: LocalTextModel) -> None:
    missing = service(None)
    for _ in range(2):
        with pytest.raises(NoModelError, match="not installed"):
            missing.measure()

    class Short:
        def generate(self, request: Any, cancel: Any) -> Iterator[Any]:
            for event in model.generate(request, cancel):
                yield event
                if event.tokens == 3:
                    return

    with pytest.raises(StudioError, match="said too little"):
        service(Short()).measure()
    assert NEW_TOKENS > 8
