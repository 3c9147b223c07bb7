"""Any diffusers text-to-image pipeline: from words, from a picture, or part of a picture made anew.

diffusers' AutoPipeline classes find the pipeline for each of the three; parts are shared between them. Weights are read from
safetensors only, and nothing of the folder is run (engine/models/pipeline_folder.py looks before). Knows a model folder and
requests; knows no catalogue, no job and no database.
"""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, AutoPipelineForImage2Image, AutoPipelineForInpainting, AutoPipelineForText2Image
from PIL import Image, ImageOps
from torch import Tensor

from engine.device import Device, is_out_of_memory
from engine.errors import BadFileError, BadOptionError, NoModelError
from engine.image import schedulers
from engine.image.denoising import denoise
from engine.image.latents import LatentView
from engine.image.model import ImageRequest, ImageStep
from engine.image.placement import Placement, too_large, work_bytes
from engine.jobs.job import CancelToken
from engine.memory import Arbiter, Machine
from engine.models.pipeline_folder import PipelineFacts

logger = logging.getLogger(__name__)

_KINDS: Final[Mapping[str, Any]] = {
    "words": AutoPipelineForText2Image,
    "picture": AutoPipelineForImage2Image,
    "mask": AutoPipelineForInpainting,
}


class PipelineModel:
    """See the module's docstring. One picture at a time; others wait."""

    styles: tuple[str, ...] = ()

    def __init__(
        self, model_id: str, facts: PipelineFacts, device: Device, placement: Placement, arbiter: Arbiter | None = None
    ) -> None:
        """Load a folder that passed inspect_pipeline. Raises BadFileError when diffusers cannot make a pipeline of it.

        `arbiter` is asked for what a picture takes; None = the machine.
        """
        self.id = model_id
        self._arbiter = arbiter or Machine(device)
        self._device = device
        self._placement = placement
        options: dict[str, Any] = {"use_safetensors": True, "local_files_only": True, "variant": facts.variant}
        options |= dict.fromkeys(facts.absent)
        try:
            made = AutoPipelineForText2Image.from_pretrained(
                facts.folder, dtype=getattr(torch, device.dtype), trust_remote_code=False, **options
            )
        except (ValueError, OSError, KeyError, TypeError, AttributeError, ImportError) as error:
            reason = str(error).splitlines()[0][:200]
            text = f"{facts.folder.name} cannot be loaded as an image model: {reason}."
            raise BadFileError(text, key="error.pipeline_load", name=facts.folder.name, reason=reason) from error
        self._denoiser: Any = getattr(made, "transformer", None) or getattr(made, "unet", None)
        if self._denoiser is None:
            text = f"{facts.folder.name} cannot be loaded as an image model: it has no denoiser."
            raise BadFileError(text, key="error.pipeline_load", name=facts.folder.name, reason="it has no denoiser")
        self._own_scheduler = made.scheduler
        self._pipelines: dict[str, Any] = {"words": self._placed(made)}
        self._view = LatentView(made.vae, device.name) if isinstance(getattr(made, "vae", None), AutoencoderKL) else None
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        """Memory of the device that the weights keep."""
        return self._placement.held_bytes

    @property
    def schedulers(self) -> tuple[str, ...]:
        """Names of the samplers, the default first."""
        return schedulers.names(self._own_scheduler)

    @property
    def native_size(self) -> tuple[int, int]:
        """What the denoiser was made for; it draws other sizes too."""
        scale = int(getattr(self._pipelines["words"], "vae_scale_factor", 8))
        size = getattr(self._denoiser.config, "sample_size", None)
        side = (size if isinstance(size, int) else 128) * scale
        return side, side

    def draw(self, request: ImageRequest, cancel: CancelToken, watch: Callable[[ImageStep], None]) -> Image.Image:
        """As engine.image.model.ImageModel says; always RGB."""
        if request.style is not None:
            text = f'There is no style "{request.style}" in this model; say it in the prompt.'
            raise BadOptionError(text, key="error.style_none", name=request.style)
        with self._lock:
            pipeline = self._pipeline("words" if request.image is None else "picture" if request.mask is None else "mask")
            pipeline.scheduler = schedulers.scheduler(request.scheduler, self._own_scheduler)
            try:
                pixels = self._drawn(pipeline, request, cancel, watch)
            finally:
                pipeline.scheduler = self._own_scheduler
        return Image.fromarray((pixels[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())

    def enlarge(self, picture: Image.Image, width: int, height: int) -> Image.Image:
        """As engine.image.model.ImageModel says: by interpolation, since no part of a pipeline was taught it."""
        return picture.resize((width, height), Image.Resampling.LANCZOS)

    def close(self) -> None:
        """Free the memory of the weights."""
        with self._lock:
            for pipeline in self._pipelines.values():
                pipeline.remove_all_hooks()
            self._pipelines.clear()
            self._view = self._denoiser = None
            self._own_scheduler = None

    def _drawn(self, pipeline: Any, request: ImageRequest, cancel: CancelToken, watch: Callable[[ImageStep], None]) -> Tensor:
        """The pixels. When memory runs out, once more with idle models let go of and the decoder working on tiles.

        Raises NoModelError when it runs out again, or cannot suffice.
        """

        def draw() -> Tensor | None:
            try:
                return denoise(
                    pipeline,
                    _accepted(pipeline, _inputs(request)),
                    seed=request.seed,
                    cancel=cancel,
                    watch=watch,
                    preview=self._preview(request),
                )
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                logger.warning("memory ran out while drawing: %s", error)
                return None  # outside of here nothing of the try is held any more

        pixels = draw() if self._needs(request, slices=self._placement.slices) <= self._arbiter.free_bytes() else None
        if pixels is not None:
            return pixels
        least, free = self._needs(request, slices=True), self._arbiter.let_go()
        if least <= free:
            with self._sliced(pipeline):
                pixels = draw()
            if pixels is not None:
                return pixels
            free = self._arbiter.let_go()
        raise too_large(request.width, request.height, least, free)

    def _needs(self, request: ImageRequest, *, slices: bool) -> int:
        """Bytes beside the weights that stay on the device."""
        width = 4 if self._device.dtype == "float32" else 2
        moving = 0 if self._placement.spread == "whole" else self._placement.need_bytes - work_bytes(width, slices=True)
        return moving + work_bytes(width, request.width * request.height, slices=slices)

    @contextmanager
    def _sliced(self, pipeline: Any) -> Iterator[None]:
        """Let the decoder work on one tile and one picture at a time."""
        vae = getattr(pipeline, "vae", None)
        if vae is None or self._placement.slices:
            yield
            return
        _switch(vae, "enable")
        try:
            yield
        finally:
            _switch(vae, "disable")

    def _pipeline(self, kind: str) -> Any:
        if not self._pipelines:
            raise NoModelError("This model was unloaded; try again.", key="error.model_unloaded")
        if kind not in self._pipelines:
            try:
                made = _KINDS[kind].from_pipe(self._pipelines["words"])
            except ValueError as error:
                text = "This model cannot start from a picture; choose another one, or leave the picture out."
                raise BadOptionError(text, key="error.no_start_picture") from error
            self._pipelines[kind] = self._placed(made)
        return self._pipelines[kind]

    def _placed(self, pipeline: Any) -> Any:
        pipeline.set_progress_bar_config(disable=True)
        if self._placement.spread == "whole":
            pipeline.to(self._device.name)
        elif self._placement.spread == "parts":
            pipeline.enable_model_cpu_offload(device=self._device.name)
        else:
            pipeline.enable_sequential_cpu_offload(device=self._device.name)
        vae = getattr(pipeline, "vae", None)
        if self._placement.slices and vae is not None:
            _switch(vae, "enable")
        return pipeline

    def _preview(self, request: ImageRequest) -> Callable[[Tensor], Image.Image | None] | None:
        view = self._view
        if view is None:
            return None
        return lambda latents: view.picture(latents[:1], request.width, request.height)


def _switch(vae: Any, word: str) -> None:
    """Enable or disable slicing and tiling, as far as this autoencoder knows them."""
    for name in (f"{word}_slicing", f"{word}_tiling"):
        if hasattr(vae, name):
            getattr(vae, name)()


def _inputs(request: ImageRequest) -> dict[str, Any]:
    size = (request.width, request.height)
    inputs: dict[str, Any] = {
        "prompt": request.prompt,
        "negative_prompt": request.negative or None,
        "num_inference_steps": request.steps,
        "guidance_scale": request.guidance,
        "true_cfg_scale": request.guidance,
        "width": request.width,
        "height": request.height,
    }
    if request.image is not None:
        picture = request.image.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        inputs["image"] = ImageOps.fit(Image.alpha_composite(white, picture).convert("RGB"), size, Image.Resampling.LANCZOS)
        inputs["strength"] = request.strength
    if request.mask is not None:
        inputs["mask_image"] = ImageOps.fit(request.mask.convert("L"), size, Image.Resampling.BILINEAR)
    return inputs


def _accepted(pipeline: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Those that this pipeline knows. Some know guidance twice: what was learned into the weights, and the classifier-free one.

    The one that the pipeline uses by itself is the one that is meant.
    """
    known = inspect.signature(type(pipeline).__call__).parameters
    taken = {name: value for name, value in inputs.items() if name in known}
    if "true_cfg_scale" in taken:
        is_true = (known["true_cfg_scale"].default or 0) > 1
        taken.pop("guidance_scale" if is_true else "true_cfg_scale", None)
        if is_true and inputs["guidance_scale"] > 1 and not taken.get("negative_prompt"):
            taken["negative_prompt"] = " "  # without one there is no guidance
    return taken
