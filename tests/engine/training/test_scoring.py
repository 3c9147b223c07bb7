"""Answers are scored as TRL scores them, with less work: the same log-probabilities and the same gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    from tests.tiny import make_model

    torch.set_num_threads(1)
    folder: Path = make_model(tmp_path_factory.mktemp("model"))
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def batch(lengths: list[tuple[int, int, int]]) -> dict[str, Any]:
    """A batch of pairs: for each (prompt, chosen, rejected) lengths; [chosen rows, rejected rows], padded on the right."""
    import torch

    draw = torch.Generator().manual_seed(1)
    rows: list[list[int]] = [[], []]  # type: ignore[list-item]
    for prompt, chosen, rejected in lengths:
        shared = torch.randint(2, 200, (prompt,), generator=draw).tolist()
        for side, size in enumerate((chosen, rejected)):
            rows[side].append((shared + torch.randint(2, 200, (size,), generator=draw).tolist(), prompt))  # type: ignore[arg-type]
    flat: list[Any] = [*rows[0], *rows[1]]
    width = max(len(ids) for ids, _ in flat)
    padded = [ids + [1] * (width - len(ids)) for ids, _ in flat]
    mask = [[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in flat]
    labels = [[-100] * prompt + ids[prompt:] + [-100] * (width - len(ids)) for ids, prompt in flat]
    names = ("input_ids", "attention_mask", "labels")
    return {name: torch.tensor(value) for name, value in zip(names, (padded, mask, labels), strict=True)}


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize(
    "lengths",
    [[(9, 7, 12)], [(9, 12, 7)], [(5, 3, 3), (11, 20, 2), (2, 1, 9)], [(8, 0, 4)], [(1, 5, 5)]],
    ids=["longer", "shorter", "several", "empty", "bare"],
)
def test_log_probabilities_and_gradients_are_trls(model: Any, lengths: list[tuple[int, int, int]], paired: bool) -> None:
    import torch
    from trl.trainer.utils import add_fused_lm_head

    from engine.training import scoring

    inputs = batch(lengths)
    add_fused_lm_head(model)
    layer = model.model.layers[0].mlp.up_proj.weight
    found = []
    for forward in (
        lambda **kwargs: model(fused_lm_head=True, **kwargs),
        lambda **kwargs: scoring.score(model, paired=paired, **kwargs),
    ):
        model.zero_grad()
        output = forward(**inputs)
        (output.log_probs.sum(dim=1) * torch.arange(1, len(inputs["labels"]) + 1)).sum().backward()
        found.append((output.log_probs.detach(), output.loss.detach(), layer.grad.clone()))
    for ours, theirs in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    del model.forward


def test_long_answers_are_done_in_chunks_with_the_same_result(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from engine.training import scoring

    inputs = batch([(4, 30, 20)])
    whole = scoring.score(model, paired=True, **inputs).log_probs
    monkeypatch.setattr(scoring, "_CHUNK", 8)
    torch.testing.assert_close(scoring.score(model, paired=True, **inputs).log_probs, whole)


def test_it_is_installed_once_and_leaves_plain_calls_alone(model: Any) -> None:
    import torch
    from trl.trainer.utils import add_fused_lm_head

    from engine.training import scoring

    ids = torch.tensor([[3, 4, 5, 6]])
    plain = model(ids).logits
    add_fused_lm_head(model)
    assert scoring.install(model, paired=True) and scoring.install(model, paired=True)
    assert torch.equal(model(ids).logits, plain)
    assert torch.equal(model.generate(ids, max_new_tokens=2, do_sample=False, pad_token_id=1)[:, :4], ids)
    assert model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, fused_lm_head=True).log_probs.shape == (1, 3)
    del model.forward, model.scores_answers_only


def test_a_model_that_scores_otherwise_keeps_trls_head(model: Any) -> None:
    from trl.trainer.utils import add_fused_lm_head

    from engine.training import scoring

    add_fused_lm_head(model, temperature=2.0)  # as models do that scale their logits
    before = model.forward
    assert not scoring.install(model, paired=True)
    assert model.forward == before
    del model.forward
