"""What holds on a GPU with whole numbers only, to a few ten-thousandths: `pytest tests/engine/text/cuda_exact.py`.

The same models as in cuda.py, in float32. See there.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.device import Device, choose_device
from engine.models.adapters import AdapterRef
from tests.engine.text import cuda, test_adapters, test_batched, test_local

adapters, folder, model = cuda.adapters, cuda.folder, cuda.model

test_logits_are_those_of_peft = test_adapters.test_logits_are_those_of_peft
test_batched_answers = test_batched.test_batched_answers_are_what_each_is_alone
test_scores = test_batched.test_scores_are_those_of_transformers
test_an_adapter_scores_for_itself = test_batched.test_an_adapter_scores_for_itself
test_scores_beside_answers = test_batched.test_scores_and_answers_go_on_beside_each_other
test_growing_cache = test_local.test_logits_of_the_growing_cache_are_those_of_one_pass


@pytest.fixture(scope="module")
def device() -> Device:
    return replace(choose_device("cuda"), dtype="float32")


@pytest.fixture(scope="module")
def adapter(adapters: list[AdapterRef]) -> AdapterRef:
    return adapters[1]
