"""The fourth stage, the long one: a small Stable Diffusion 3 transformer learns to turn noise into latents.

Rectified flow with logit-normal times (Esser et al. 2024, arXiv:2403.03206); prompt and style are left out at random for
classifier-free guidance; beside the noise stand examples of what is asked for, in other styles (engine/image/examples.py); what
is kept is a moving average of the weights. For speed on little hardware, most blocks see half of each picture's tokens (TREAD:
Krause et al. 2025, arXiv:2501.04765), and matrices learn with Muon (Jordan et al. 2024; Liu et al. 2025, arXiv:2502.16982). It
can be stopped at any moment and goes on from its newest state.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

from engine.image.examples import LATENTS, SHOWN
from engine.image.transformer import StickerTransformer
from engine.image.weights import load_part
from engine.training.recipes.stickers.conditions import Conditions, LeftOut
from engine.training.recipes.stickers.guiding import told_of_guidance
from engine.training.recipes.stickers.learning import Learning, Size
from engine.training.recipes.stickers.publish import published_samples
from engine.training.recipes.stickers.work import Work

NAME: Final = "transformer"
STATE: Final = "denoiser.pt"
LEFT_OUT: Final = LeftOut(text=0.1, style=0.2, examples=0.1)
HINTS: Final = (0.3, 0.1, 0.1, 0.1)
"""How much of each example an untrained transformer takes for a part of the picture: it uses them from the first step on."""
STRUCTURE: Final = (0.4, -0.6)
"""Mean of the logit of the noise's share, at the beginning and at the end: above 0, more is learned about what is where than
about fine detail, which tells styles apart and is worth learning once the rest is known.
"""
SEEN: Final = 0.5
"""Share of a picture's tokens that the blocks between the first and the last one see."""
WHOLE_AFTER: Final = 0.8
"""Share of the work after which all blocks see all tokens, as they will when they draw."""
AGAIN: Final = 20_000
"""Samples over which the learning rate rises when optimizers start anew."""


def new_transformer(size: Size, styles: int) -> Any:
    """An untrained one, of diffusers' own blocks, so that its pipelines, schedulers and adapters fit.

    Its blocks begin as identities (adaLN-Zero: Peebles and Xie 2023, arXiv:2212.09748).
    """
    model = StickerTransformer(
        sample_size=8,
        patch_size=1,
        in_channels=16,
        out_channels=16,
        num_layers=size.depth,
        attention_head_dim=64,
        num_attention_heads=size.width // 64,
        caption_projection_dim=size.width,
        joint_attention_dim=384,
        pooled_projection_dim=384 + styles,
        pos_embed_max_size=16,
        qk_norm="rms_norm",
    )
    modulations = [norm.linear for block in model.transformer_blocks for norm in (block.norm1, block.norm1_context)]
    for layer in (*modulations, model.norm_out.linear, model.proj_out):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    noise, *shown = model.pos_embed.proj.weight.data.split([LATENTS[0], *[LATENTS[0] + 1] * SHOWN], 1)
    for part, share in zip(shown, HINTS, strict=True):
        part[:, : LATENTS[0]] = share * noise
    return model


def optimizers_of(model: Any, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for what is none or has rows of its own kind."""
    matrices = [weight for name, weight in model.transformer_blocks.named_parameters() if weight.ndim == 2 and "norm" not in name]
    known = {id(weight) for weight in matrices}
    others = [weight for weight in model.parameters() if id(weight) not in known]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


class DenoiserTraining(Learning):
    """See the module's docstring."""

    def __init__(self, conditions: Conditions, size: Size, work: Work, *, compiled: bool) -> None:
        """Take up the newest state of the work folder; else go on from a published transformer there; else begin."""
        torch.manual_seed(0)
        self._conditions = conditions
        model = new_transformer(size, conditions.styles).to(work.device)
        super().__init__(NAME, STATE, model, optimizers_of(model, size.rate), size, work, compiled=compiled)
        if not self.samples and work.path(NAME).is_dir():
            self._go_on()

    def rate(self, done: float) -> float:
        """As Learning's, and it rises again where optimizers started anew."""
        return super().rate(done) * min(1.0, (self.samples - self.rested_at + 1) / AGAIN)

    def loss(self, done: float) -> Tensor:
        """How far it is from the flow between picture and noise."""
        device = self._work.device
        rows = self._conditions.rows(self._size.batch)
        clean = self._conditions.latents(rows)
        tokens, pooled = self._conditions.said(rows, LEFT_OUT)
        first, last = STRUCTURE
        sigma = torch.sigmoid(torch.randn(len(rows), device=device) + first + (last - first) * min(1.0, done))
        noise = torch.randn_like(clean)
        count = clean.shape[2] * clean.shape[3]
        seen = None
        if done < WHOLE_AFTER:
            seen = torch.rand(len(rows), count, device=device).argsort(1)[:, : int(SEEN * count)]
        mixed = torch.lerp(clean, noise, sigma[:, None, None, None])
        with self._work.autocast():
            said = self._forward(self._model, mixed, tokens, pooled, sigma * 1000, seen)
        return (said.float() - (noise - clean)).square().mean()

    def _go_on(self) -> None:
        """From a transformer of an earlier training: its optimizers start anew, so the rate rises again. One that was distilled
        draws without guidance what it would have drawn before, so that it is taken for what it was.
        """
        known = load_part(StickerTransformer, self._work.path(NAME), self._work.device)
        self._model.load_state_dict(told_of_guidance(known, self._model.config.pooled_projection_dim).state_dict())
        self.average.load_state_dict(self._model.state_dict())
        self.samples = self.rested_at = published_samples(self._work.folder)
        torch.manual_seed(self.samples)
