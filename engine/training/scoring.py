"""The log-probabilities of answers, computed without what nobody needs: a drop-in for TRL's own fused head.

TRL asks a causal model for `model(..., labels=…, fused_lm_head=True).log_probs`. On a CPU its head multiplies every position
with the vocabulary, those of the prompt too; this one only positions that predict a token of an answer. And a pair of answers
to one prompt is computed as one row, prompt | chosen | rejected, in which the two answers cannot see each other: the prompt
is computed once and nothing is padding (prefix sharing: Wang & Hegde 2024, arXiv:2410.20305). The numbers are the same, which
`install` checks on the model at hand before it relies on it. Knows torch and transformers' models; knows no data and no loss.
"""

from __future__ import annotations

import functools
import types
from typing import Any, Final

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from trl.trainer.utils import FusedCausalLMOutput

LEFT_OUT: Final = ("entropy", "logits/chosen", "logits/rejected", "mean_token_accuracy")
"""What TRL logs and this head does not compute."""
_CHUNK: Final = 512
"""Answer tokens multiplied with the vocabulary at once; more would take too much memory."""
_MARK: Final = "scores_answers_only"


def install(model: Any, *, paired: bool) -> bool:
    """Replace the fused head that TRL gave `model`; return whether that was done.

    `paired`: batches are [chosen rows, rejected rows] with the same prompts (TRL's DPO). A model whose outputs come out
    different keeps TRL's head. Calling it twice does nothing.
    """
    if getattr(model, _MARK, False):
        return True
    trl_forward = model.forward

    @functools.wraps(type(model).forward)
    def forward(self: Any, *args: Any, fused_lm_head: bool = False, **inputs: Any) -> Any:
        if not fused_lm_head:
            return trl_forward(*args, **inputs)
        return score(self, paired=paired, **inputs)

    if not _agrees(model, trl_forward, paired=paired):
        return False
    model.forward = types.MethodType(forward, model)
    setattr(model, _MARK, True)
    return True


def score(
    model: Any,
    *,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    labels: torch.Tensor,
    paired: bool = False,
    num_items_in_batch: Any = None,
    **_: Any,
) -> FusedCausalLMOutput:
    """Return log-probabilities of the labels, [batch, length - 1], zero where a label is -100.

    input_ids, attention_mask, labels: [batch, length], padded on the right; with `paired` the second half of the batch
    answers the same prompts as the first. What TRL only logs (LEFT_OUT) is not computed.
    """
    mask = labels[:, 1:] != -100
    if paired and len(input_ids) % 2 == 0:
        hidden = _packed_hidden(model, input_ids, attention_mask, mask)
    else:
        outputs = model.base_model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        hidden = outputs.last_hidden_state[:, :-1][mask]
    found = _log_probs(hidden, model.get_output_embeddings(), labels[:, 1:][mask])
    log_probs = found.new_zeros(mask.shape).masked_scatter(mask, found)
    count = mask.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
    nothing = torch.zeros_like(log_probs)
    return FusedCausalLMOutput(
        loss=-log_probs.sum() / count,
        log_probs=log_probs,
        entropy=nothing,
        mean_logits=nothing,
        is_top1=mask.new_zeros(mask.shape),
        label_mask=mask,
    )


def _packed_hidden(model: Any, ids: torch.Tensor, attention: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Hidden states that predict the masked tokens, row by row, [tokens, width], with each pair computed as one row."""
    pairs = ids.shape[0] // 2
    lengths = attention.sum(dim=1)
    first, second = lengths[:pairs], lengths[pairs:]
    same = (ids[:pairs] == ids[pairs:]) & attention[:pairs].bool() & attention[pairs:].bool()
    shared = same.int().cumprod(dim=1).sum(dim=1)  # tokens that both begin with: the prompt, and often more
    total = int((first + second - shared).max())
    packed = ids.new_zeros((pairs, total))
    positions = ids.new_zeros((pairs, total))
    allowed = torch.ones((total, total), dtype=torch.bool, device=ids.device).tril().repeat(pairs, 1, 1)
    for pair in range(pairs):
        start, turn, end = int(shared[pair]), int(first[pair]), int(first[pair] + second[pair] - shared[pair])
        packed[pair, :turn] = ids[pair, :turn]
        packed[pair, turn:end] = ids[pairs + pair, start : int(second[pair])]
        positions[pair, :turn] = torch.arange(turn, device=ids.device)
        positions[pair, turn:end] = torch.arange(start, int(second[pair]), device=ids.device)
        allowed[pair, turn:, start:turn] = False
    dtype = model.get_output_embeddings().weight.dtype
    bias = torch.zeros(allowed.shape, dtype=dtype, device=ids.device).masked_fill(~allowed, torch.finfo(dtype).min)
    outputs = model.base_model(input_ids=packed, attention_mask=bias[:, None], position_ids=positions, use_cache=False)
    rows, places = mask.nonzero(as_tuple=True)  # place t predicts token t + 1
    pair_of = rows % pairs
    moved = places - shared[pair_of] + first[pair_of]
    places = torch.where((rows >= pairs) & (places >= shared[pair_of]), moved, places)
    hidden: torch.Tensor = outputs.last_hidden_state[pair_of, places]
    return hidden


def _log_probs(hidden: torch.Tensor, head: Any, targets: torch.Tensor) -> torch.Tensor:
    """Log-probability of each target, float32 [tokens]."""
    if len(targets) <= _CHUNK:
        return _chunk_log_probs(hidden, head, targets)
    parts = zip(torch.split(hidden, _CHUNK), torch.split(targets, _CHUNK), strict=True)
    return torch.cat([checkpoint(_chunk_log_probs, part, head, wanted, use_reentrant=False) for part, wanted in parts])


def _chunk_log_probs(hidden: torch.Tensor, head: Any, targets: torch.Tensor) -> torch.Tensor:
    logits = functional.linear(hidden, head.weight, head.bias).float()
    return -functional.cross_entropy(logits, targets, reduction="none")


def _agrees(model: Any, trl_forward: Any, *, paired: bool) -> bool:
    """Whether both ways say the same of a small made-up batch (models that scale or cap their logits differ)."""
    device = model.get_output_embeddings().weight.device
    vocabulary = model.get_output_embeddings().weight.shape[0]
    ids = torch.randint(vocabulary, (2, 12), generator=torch.Generator().manual_seed(0)).to(device)
    ids[1, :5] = ids[0, :5]
    attention = torch.ones_like(ids)
    attention[1, 10:] = 0
    labels = ids.masked_fill(attention == 0, -100)
    labels[:, :5] = -100
    inputs = {"input_ids": ids, "attention_mask": attention, "labels": labels}
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            wanted = trl_forward(**inputs, fused_lm_head=True).log_probs.float()
            found = score(model, **inputs, paired=paired).log_probs.float()
    except (TypeError, ValueError, RuntimeError):  # a model that takes no such mask or positions
        return False
    finally:
        model.train(training)
    tolerance = 1e-3 if model.get_output_embeddings().weight.dtype == torch.float32 else 0.1
    return bool(torch.allclose(found, wanted, rtol=tolerance, atol=tolerance))
