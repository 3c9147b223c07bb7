"""The last long stage: the transformer learns to say in one pass what guidance needs three for.

Guidance distillation (Meng et al. 2023, arXiv:2210.03142, stage one): a copy of the transformer is told how strong guidance is to
be and learns to say what the guided passes of the first one say. Prompt and style are guided one after the other (Brooks et
al. 2023, arXiv:2211.09800): from nothing to the prompt, from the prompt to the prompt in that style. It sees the same pictures
as the transformer did, so what was kept from that one is kept from this one too.
"""

from __future__ import annotations

from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.image.examples import WIDTH
from engine.image.guidance import NONE, STRONGEST, told
from engine.image.transformer import StickerTransformer
from engine.training.recipes.stickers.conditions import Conditions, LeftOut
from engine.training.recipes.stickers.learning import Learning, Size
from engine.training.recipes.stickers.work import Work

NAME: Final = "guidance"
STATE: Final = "guidance.pt"
LEFT_OUT: Final = LeftOut(text=0.05, style=0.1, examples=0.0)
STYLE: Final = 2.0
"""How much stronger the style is guided than the prompt."""
SMALL: Final = 0.01
"""Of a mean square, about a hundredth of what there is to say: guidance that goes less far is as good as none."""


def guided(nothing: Tensor, prompt: Tensor, both: Tensor, guidance: Tensor) -> Tensor:
    """What three passes say together [n, 16, 8, 8] at `guidance` [n]; at 1 what `both` says alone."""
    strength = guidance[:, None, None, None] - NONE
    return both + strength * ((prompt - nothing) + STYLE * (both - prompt))


def told_of_guidance(model: Any, width: int) -> Any:
    """A copy of a transformer that takes a pooled condition of `width` numbers; one more than it knew changes nothing yet."""
    made = StickerTransformer.from_config({**model.config, "pooled_projection_dim": width}).to(model.device)
    weights = model.state_dict()
    first = "time_text_embed.text_embedder.linear_1.weight"
    weights[first] = F.pad(weights[first], (0, width - weights[first].shape[1]))
    made.load_state_dict(weights)
    return made


class GuidanceDistillation(Learning):
    """See the module's docstring."""

    def __init__(self, conditions: Conditions, teacher: Any, size: Size, work: Work, *, compiled: bool) -> None:
        """Take up the newest state of the work folder, else begin with a copy of `teacher`."""
        torch.manual_seed(0)
        self._conditions = conditions
        self._teacher = teacher
        student = told_of_guidance(teacher, teacher.config.pooled_projection_dim + 1)
        # Not Muon: its products of matrices would cost more than so small a batch.
        optimizers = [torch.optim.AdamW(student.parameters(), lr=size.rate, betas=(0.9, 0.99), weight_decay=0.0)]
        super().__init__(NAME, STATE, student, optimizers, size, work, compiled=compiled)

    def loss(self, done: float) -> Tensor:
        """How far one pass is from the guided ones. Where guidance goes far, at much noise, a miss counts less than it would by
        itself: fine detail, which tells styles apart, is guided by little.
        """
        rows = self._conditions.rows(self._size.batch)
        clean = self._conditions.latents(rows)
        tokens, pooled = self._conditions.said(rows, LEFT_OUT)
        sigma, *chances = torch.rand(3, len(rows), device=rows.device)
        # The mean of two: most are as strong as people want it, and few as weak or strong as can be.
        guidance = NONE + (STRONGEST - NONE) * (chances[0] + chances[1]) / 2
        mixed = torch.lerp(clean, torch.randn_like(clean), sigma[:, None, None, None])
        with self._work.autocast():
            with torch.no_grad():
                nothing, prompt, both = self._passes(mixed, tokens, pooled, sigma)
                wanted = guided(nothing, prompt, both, guidance)
            pooled = torch.cat([pooled[:, :-WIDTH], told(guidance)[:, None], pooled[:, -WIDTH:]], 1)
            said = self._forward(self._model, mixed, tokens, pooled, sigma * 1000, None)
        missed, far = ((one - wanted).float().square().mean((1, 2, 3)) for one in (said, both))
        return (missed / (far + SMALL).sqrt()).mean()

    def _passes(self, mixed: Tensor, tokens: Tensor, pooled: Tensor, sigma: Tensor) -> tuple[Tensor, ...]:
        """What the teacher says when told nothing, the prompt, and the prompt and the style."""
        prompt = pooled.clone()
        prompt[:, -WIDTH - self._conditions.styles : -WIDTH] = 0
        said = self._forward(
            self._teacher,
            torch.cat([mixed] * 3),
            torch.cat([torch.zeros_like(tokens), tokens, tokens]),
            torch.cat([torch.zeros_like(pooled), prompt, pooled]),
            torch.cat([sigma] * 3) * 1000,
            None,
        )
        return said.chunk(3)
