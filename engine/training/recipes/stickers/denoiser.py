"""The fourth stage, the long one: a small Stable Diffusion 3 transformer learns to turn noise into latents.

Rectified flow with logit-normal times (Esser et al. 2024, arXiv:2403.03206); prompt and style are left out at random for
classifier-free guidance; beside the noise stand examples of what is asked for, in other styles (engine/image/examples.py); what
is kept is a moving average of the weights. For speed on little hardware, most blocks see half of
each picture's tokens (TREAD: Krause et al. 2025, arXiv:2501.04765), and matrices learn with Muon (Jordan et al. 2024; Liu et al.
2025, arXiv:2502.16982). It can be stopped at any moment and goes on from its newest state.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from engine.image import examples
from engine.image.examples import LATENTS, SHOWN, Examples
from engine.image.prompts import sentence_vectors
from engine.image.transformer import StickerTransformer, with_examples
from engine.image.weights import load_part
from engine.training.recipes.stickers.prepared import Prepared, caption_tokens, caption_vectors, draw_captions
from engine.training.recipes.stickers.publish import published_samples
from engine.training.recipes.stickers.work import Work, rate_at

NAME: Final = "transformer"
STATE: Final = "denoiser.pt"
NO_TEXT: Final = 0.1
NO_STYLE: Final = 0.2
NO_EXAMPLES: Final = 0.1
CHINESE: Final = 0.25
HINTS: Final = (0.3, 0.1, 0.1, 0.1)
"""How much of each example an untrained transformer takes for a part of the picture: it uses them from the first step on."""
STRUCTURE: Final = (0.4, -0.6)
"""Mean of the logit of the noise's share, at the beginning and at the end: above 0, more is learned about what is where than
about fine detail, which tells styles apart and is worth learning once the rest is known.
"""
AVERAGE: Final = 0.9995
SEEN: Final = 0.5
"""Share of a picture's tokens that the blocks between the first and the last one see."""
WHOLE_AFTER: Final = 0.8
"""Share of the work after which all blocks see all tokens, as they will when they draw."""
AGAIN: Final = 20_000
"""Samples over which the learning rate rises when optimizers start anew."""
SAVE_S: Final = 300.0
"""Seconds between two states on disk: what a crash costs at most."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large the transformer is and how it learns."""

    width: int = 256
    depth: int = 8
    batch: int = 128
    rate: float = 1e-3


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


def forward(model: Any, mixed: Tensor, tokens: Tensor, pooled: Tensor, times: Tensor, seen: Tensor | None) -> Tensor:
    """What the transformer's own forward says of `mixed` [n, 16, 8, 8]; with `seen` [n, k], places of the tokens that pass
    through the blocks between the first and the last one, the others go around them.
    """
    beside, pooled = with_examples(mixed, pooled, times)
    state = model.pos_embed(beside).contiguous()
    condition = model.time_text_embed(times, pooled)
    text = model.context_embedder(tokens)
    first, *middle, last = model.transformer_blocks
    text, state = first(hidden_states=state, encoder_hidden_states=text, temb=condition)
    whole = state
    if seen is not None:
        places = seen[..., None].expand(-1, -1, state.shape[-1])
        state = state.gather(1, places)
    for block in middle:
        text, state = block(hidden_states=state, encoder_hidden_states=text, temb=condition)
    if seen is not None:
        state = whole.scatter(1, places, state.to(whole.dtype))
    text, state = last(hidden_states=state, encoder_hidden_states=text, temb=condition)
    state = model.proj_out(model.norm_out(state, condition))
    said: Tensor = state.transpose(1, 2).reshape(mixed.shape)
    return said


def optimizers_of(model: Any, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for what is none or has rows of its own kind."""
    matrices = [weight for name, weight in model.transformer_blocks.named_parameters() if weight.ndim == 2 and "norm" not in name]
    known = {id(weight) for weight in matrices}
    others = [weight for weight in model.parameters() if id(weight) not in known]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


class DenoiserTraining:
    """The weights that learn, their average, the optimizer, and how many samples they have seen."""

    def __init__(
        self, prepared: Prepared, shown: tuple[Examples, Tensor], styles: int, size: Size, work: Work, *, compiled: bool
    ) -> None:
        """Take up the newest state of the work folder; else go on from a published transformer there; else begin. `shown`: as
        prepared.choose_examples says.
        """
        self._prepared = prepared
        self._examples, self._example_rows = shown
        self._size = size
        self._work = work
        self._styles = styles
        torch.manual_seed(0)
        self._model = new_transformer(size, styles).to(work.device)
        self.average = new_transformer(size, styles).to(work.device).requires_grad_(False)
        self._optimizers = optimizers_of(self._model, size.rate)
        self.samples = self._rested_at = 0
        if work.path(STATE).is_file():
            self._load()
        else:
            self._begin()
        self._forward = torch.compile(forward) if compiled else forward
        self._latents = prepared.latents.to(work.device)
        captions = torch.arange(len(prepared.ends) - 1)
        parts = [self._examples.nearest(caption_vectors(prepared, part)) for part in torch.split(captions, 8192)]
        self._nearest = torch.cat([pictures.to(torch.int32) for pictures, _ in parts])
        self._likeness = torch.cat([likeness.half() for _, likeness in parts])

    def run(self, until: int, planned: int, seconds: float = float("inf")) -> None:
        """Train to `until` samples seen in all, or for so many seconds; the learning rate ends at `planned` samples."""
        started_s = saved_s = time.monotonic()
        before, losses = self.samples, []
        while self.samples < until and time.monotonic() - started_s < seconds:
            done = self.samples / planned
            rate = rate_at(done, self._size.rate) * min(1.0, (self.samples - self._rested_at + 1) / AGAIN)
            for optimizer in self._optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate
            first, last = STRUCTURE
            losses.append(self._step(is_whole=done >= WHOLE_AFTER, structure=first + (last - first) * min(1.0, done)))
            if len(losses) >= 100:
                speed = (self.samples - before) / (time.monotonic() - started_s)
                mean = round(sum(losses) / len(losses), 4)
                self._work.log(NAME, samples=self.samples, of=planned, loss=mean, samples_per_s=round(speed, 1))
                losses.clear()
            if time.monotonic() - saved_s > SAVE_S:
                self.save()
                saved_s = time.monotonic()
        self.save()

    def save(self) -> None:
        """Put the state on disk, whole."""
        state = {
            "model": self._model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "samples": self.samples,
            "rested_at": self._rested_at,
            "random": torch.get_rng_state(),
        }
        self._work.whole(STATE, lambda path: torch.save(state, path))

    def _load(self) -> None:
        state = torch.load(self._work.path(STATE), weights_only=True, map_location=self._work.device)
        self._model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for optimizer, kept in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.samples, self._rested_at = state["samples"], state["rested_at"]
        torch.set_rng_state(state["random"].cpu())

    def _begin(self) -> None:
        """From a transformer of an earlier training where there is one: its optimizers start anew, so the rate rises again."""
        if self._work.path(NAME).is_dir():
            known = load_part(StickerTransformer, self._work.path(NAME), self._work.device)
            self._model.load_state_dict(known.state_dict())
            self.samples = self._rested_at = published_samples(self._work.folder)
            torch.manual_seed(self.samples)
        self.average.load_state_dict(self._model.state_dict())

    def _step(self, *, is_whole: bool, structure: float) -> float:
        rows = torch.multinomial(self._prepared.weights, self._size.batch, replacement=True)
        clean = self._latents[rows].float()
        tokens, pooled = self._said(rows)
        sigma = torch.sigmoid(torch.randn(len(rows)) + structure).to(clean.device)
        noise = torch.randn(clean.shape).to(clean.device)
        count = clean.shape[2] * clean.shape[3]
        seen = None if is_whole else torch.rand(len(rows), count).argsort(1)[:, : int(SEEN * count)].to(clean.device)
        mixed = torch.lerp(clean, noise, sigma[:, None, None, None])
        with self._work.autocast():
            said = self._forward(self._model, mixed, tokens.to(clean.device), pooled.to(clean.device), sigma * 1000, seen)
        loss = (said.float() - (noise - clean)).square().mean()
        self._model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        for optimizer in self._optimizers:
            optimizer.step()
        self.samples += len(rows)
        self._follow()
        return float(loss.detach())

    def _said(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """What the model is told of these pictures: tokens and pooled vectors, some of them left out."""
        captions = draw_captions(self._prepared, rows, CHINESE)
        tokens = caption_tokens(self._prepared, captions)
        has_text = torch.rand(len(rows)) >= NO_TEXT
        tokens[~has_text] = 0
        styles = nn.functional.one_hot(self._prepared.styles[rows], self._styles).float()
        styles[torch.rand(len(rows)) < NO_STYLE] = 0
        has_examples = has_text & (torch.rand(len(rows)) >= NO_EXAMPLES)
        return tokens, torch.cat([sentence_vectors(tokens), styles, self._shown(rows, captions) * has_examples[:, None]], 1)

    def _shown(self, rows: Tensor, captions: Tensor) -> Tensor:
        """Examples [rows, WIDTH] for these captions, none in the picture's own style; mirrored when the picture is."""
        pictures, likeness = self._nearest[captions].long(), self._likeness[captions].float()
        own_style = self._examples.styles[pictures] == self._prepared.styles[rows][:, None]
        likeness = likeness.masked_fill(own_style, -torch.inf)
        chosen, near = examples.drawn(pictures, likeness, torch.randn(likeness.shape))
        latents = self._examples.latents(chosen)
        mirrored = self._prepared.mirrored[rows]
        latents[mirrored] = self._prepared.latents[self._example_rows[chosen[mirrored], 1]].float()
        return examples.placed(latents, near)

    @torch.no_grad()
    def _follow(self) -> None:
        step = self.samples / self._size.batch
        keep = min(AVERAGE, (1 + step) / (10 + step))
        average = [*self.average.parameters()]
        torch._foreach_lerp_(average, [*self._model.parameters()], 1 - keep)
