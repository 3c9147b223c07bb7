"""The studio's own starter image model: stickers, icons and emoji from a prompt in English or Chinese, and a style.

A small Stable Diffusion 3 transformer on the latents of a small autoencoder, run by diffusers' own pipelines; a small network
enlarges what it draws, and known pictures in other styles stand beside the noise as examples. How it was trained:
engine/training/recipes/stickers. Knows a model folder and requests; knows no job.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    StableDiffusion3Img2ImgPipeline,
    StableDiffusion3InpaintPipeline,
    StableDiffusion3Pipeline,
)
from PIL import Image
from torch import Tensor

from engine.device import Device, is_out_of_memory
from engine.errors import BadOptionError, NoModelError
from engine.image import examples, schedulers
from engine.image.autoencoder import StickerAutoencoder
from engine.image.chinese import ChineseEncoder
from engine.image.denoising import denoise, settle_threads
from engine.image.guidance import NONE, guided, told
from engine.image.model import ImageRequest, ImageStep
from engine.image.pixels import on_white, premultiplied, straight
from engine.image.placement import too_large
from engine.image.prompts import Prompt, PromptEncoder, WordEncoder
from engine.image.transformer import StickerTransformer, guidance_numbers
from engine.image.upscaler import StickerUpscaler, enlarge, enlarge_bytes
from engine.image.weights import load_part
from engine.jobs.job import CancelToken
from engine.memory import Arbiter, Machine

SIZE: Final = 64
"""Pixels on each side that the model itself draws."""
LARGEST: Final = 2048
"""Pixels a side that the upscaler makes; its memory grows with the square."""
SHIFT: Final = 2.5
"""How many more of the steps are taken at much noise, where it is decided what is where (Esser et al. 2024, arXiv:2403.03206).

Six such steps miss what 40 even ones draw by 0.10 of a pixel's range -1 … 1 (root mean square), eight even ones by 0.16.
"""
STYLES: Final = "styles.json"
"""File of the style names, in the order of the numbers they were trained with."""
TILE: Final = 128
"""Pixels of a side that are enlarged at a time where memory is short."""
ALWAYS_BYTES: Final = 50_000_000
"""So much is a part of what the model needs anyway (STICKER_WORK_BYTES)."""
_TEXTLESS: Final = {f"{part}{number}": None for part in ("text_encoder", "tokenizer") for number in ("", "_2", "_3")}


class StickerModel:
    """See the module's docstring. One picture at a time; others wait."""

    native_size = (SIZE, SIZE)

    def __init__(self, model_id: str, folder: Path, encoder: WordEncoder, device: str, arbiter: Arbiter | None = None) -> None:
        """Load from `folder`: transformer/, vae/, chinese/, upscaler/, styles.json, examples.safetensors. Raises
        OSError and ValueError for another. `arbiter` is asked for what large pictures take; None = the machine.
        """
        self.id = model_id
        self.styles: tuple[str, ...] = tuple(json.loads((folder / STYLES).read_text(encoding="utf-8")))
        self._vae = load_part(StickerAutoencoder, folder / "vae", device)
        self._upscaler = load_part(StickerUpscaler, folder / "upscaler", device).to(memory_format=torch.channels_last)
        self._chinese = load_part(ChineseEncoder, folder / "chinese")
        self._encoder = PromptEncoder(encoder, self._chinese, self.styles)
        transformer = load_part(StickerTransformer, folder / "transformer", device)
        self._guidance_numbers = guidance_numbers(transformer, encoder.width + len(self.styles))
        self._examples = examples.load_examples(folder / examples.FILE)
        self._parts = {"transformer": transformer, "vae": self._vae, **_TEXTLESS}
        self._device = device
        self._arbiter = arbiter or Machine(Device(device, "float32", 1))
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        """Memory of the weights."""
        parts = (self._parts["transformer"], self._vae, self._upscaler, self._chinese)
        weights: int = sum(tensor.nbytes for part in parts for tensor in part.parameters())
        return weights + self._examples.size_bytes

    @property
    def schedulers(self) -> tuple[str, ...]:
        """Names of the samplers, the default first."""
        return schedulers.names(FlowMatchEulerDiscreteScheduler())

    def draw(self, request: ImageRequest, cancel: CancelToken, watch: Callable[[ImageStep], None]) -> Image.Image:
        """As engine.image.model.ImageModel says."""
        if request.style is not None and request.style not in self.styles:
            listed = ", ".join(self.styles)
            text = f'There is no style "{request.style}"; use one of {listed}.'
            raise BadOptionError(text, key="error.style_unknown", name=request.style, names=listed)
        with self._lock, torch.inference_mode():
            self._require_open()
            settle_threads()
            pipeline = self._pipeline(request)
            inputs = self._inputs(request) | schedulers.even_steps(pipeline.scheduler, request.steps)
            pixels = denoise(pipeline, inputs, seed=request.seed, cancel=cancel, watch=watch, preview=self._preview)
            size = max(request.width, request.height)
            large = self._enlarged((pixels * 2 - 1).to(self._device), min(LARGEST, size))
            made = _picture(large.cpu(), transparent=request.transparent)
            return made if max(made.size) == size else made.resize((size, size), Image.Resampling.LANCZOS)

    def enlarge(self, picture: Image.Image, width: int, height: int) -> Image.Image:
        """As engine.image.model.ImageModel says: by the small network, up to LARGEST pixels a side; beyond by interpolation."""
        pixels = premultiplied(torch.from_numpy(np.array(picture.convert("RGBA"))).permute(2, 0, 1)[None])
        with self._lock, torch.inference_mode():
            self._require_open()
            settle_threads()
            large = self._enlarged(pixels.to(self._device), min(LARGEST, max(width, height)))
        made = _picture(large.cpu(), transparent=picture.mode == "RGBA")
        return made if made.size == (width, height) else made.resize((width, height), Image.Resampling.LANCZOS)

    def draw_small(self, prompts: Sequence[Prompt], *, seed: int, steps: int, guidance: float) -> Tensor:
        """Draw all prompts together at the model's own size: straight uint8 [prompts, 4, 64, 64]. For figures and samples."""
        with self._lock, torch.inference_mode():
            how = guided(guidance, knows_guidance=bool(self._guidance_numbers), is_against=False)
            tokens, pooled = self._said([*prompts, Prompt("", None)], seed, how.learned)
            count = len(prompts)
            inputs = {
                "prompt_embeds": tokens[:count],
                "pooled_prompt_embeds": pooled[:count],
                "negative_prompt_embeds": tokens[count:].expand(count, -1, -1),
                "negative_pooled_prompt_embeds": pooled[count:].expand(count, -1),
                "num_inference_steps": steps,
                "guidance_scale": how.passes,
            }
            pipeline = self._pipeline(ImageRequest("", scheduler=self.schedulers[0]))
            inputs |= schedulers.even_steps(pipeline.scheduler, steps)
            made = denoise(pipeline, inputs, seed=seed, cancel=CancelToken(), watch=lambda step: None, preview=None)
            return straight(made * 2 - 1)

    def close(self) -> None:
        """Free the memory of the weights."""
        with self._lock:
            self._parts.clear()

    def _enlarged(self, pixels: Tensor, size: int) -> Tensor:
        """In one piece where there is memory for that, else in tiles. Raises NoModelError when it does not suffice for those."""
        if enlarge_bytes(self._upscaler, size) <= max(self._arbiter.free_bytes(), ALWAYS_BYTES):
            try:
                return enlarge(self._upscaler, pixels, size)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
        self._arbiter.let_go()
        try:
            return enlarge(self._upscaler, pixels, size, TILE)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            needs = enlarge_bytes(self._upscaler, 2 * TILE) + size * size * 4 * 4 * 3
        raise too_large(size, size, needs, self._arbiter.free_bytes())

    def _require_open(self) -> None:
        if not self._parts:
            raise NoModelError("This model was unloaded; try again.", key="error.model_unloaded")

    def _said(self, prompts: Sequence[Prompt], seed: int, guidance: float = NONE) -> tuple[Tensor, Tensor]:
        """(tokens, pooled conditions with learned guidance and the examples) of prompts, on the device."""
        tokens, pooled = self._encoder(prompts)
        styles = [None if prompt.style is None else self.styles.index(prompt.style) for prompt in prompts]
        beside = self._examples.beside(pooled[:, : -len(self.styles)], styles, seed)
        strength = told(torch.full((len(prompts), self._guidance_numbers), guidance))
        return tokens.to(self._device), torch.cat([pooled, strength, beside], 1).to(self._device)

    def _inputs(self, request: ImageRequest) -> dict[str, Any]:
        is_against = bool(request.negative.strip())
        how = guided(request.guidance, knows_guidance=bool(self._guidance_numbers), is_against=is_against)
        prompts = [Prompt(request.prompt, request.style), Prompt(request.negative, request.style if request.negative else None)]
        tokens, pooled = self._said(prompts, request.seed, how.learned)
        inputs: dict[str, Any] = {
            "prompt_embeds": tokens[:1],
            "pooled_prompt_embeds": pooled[:1],
            "negative_prompt_embeds": tokens[1:],
            "negative_pooled_prompt_embeds": pooled[1:],
            "num_inference_steps": request.steps,
            "guidance_scale": how.passes,
            "height": SIZE,
            "width": SIZE,
        }
        if request.image is not None:
            inputs |= {"image": _unit(request.image), "strength": request.strength}
        if request.mask is not None:
            inputs["mask_image"] = request.mask.convert("L").resize((SIZE, SIZE), Image.Resampling.LANCZOS)
        return inputs

    def _pipeline(self, request: ImageRequest) -> Any:
        kind: Any = StableDiffusion3Pipeline
        if request.image is not None:
            kind = StableDiffusion3InpaintPipeline if request.mask is not None else StableDiffusion3Img2ImgPipeline
        # Who starts from a picture says by `strength` how much noise there is at first, so that it is not shifted.
        own = FlowMatchEulerDiscreteScheduler(shift=SHIFT if request.image is None else 1.0)
        pipeline = kind(**self._parts, scheduler=schedulers.scheduler(request.scheduler, own))
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _preview(self, latents: Tensor) -> Image.Image:
        return _picture(self._vae.decode(latents).sample.cpu(), transparent=False)


def _unit(picture: Image.Image) -> Tensor:
    """Premultiplied [1, 4, 64, 64] in 0 … 1 of any picture, its middle square."""
    side = min(picture.size)
    left, top = ((length - side) // 2 for length in picture.size)
    square = picture.convert("RGBA").crop((left, top, left + side, top + side)).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1)[None]
    return (premultiplied(pixels) + 1) / 2


def _picture(pixels: Tensor, *, transparent: bool) -> Image.Image:
    """Premultiplied [1, 4, h, w] in -1 … 1 as a picture."""
    rgba = straight(pixels)
    shown = rgba if transparent else on_white(rgba)
    return Image.fromarray(shown[0].permute(1, 2, 0).numpy())
