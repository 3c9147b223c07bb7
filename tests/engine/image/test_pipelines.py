"""Any diffusers pipeline through the studio's own code, on tiny random ones: noise and flow, words, pictures, masks, cancels."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from engine.errors import BadFileError, BadOptionError, CancelledError, NoModelError
from engine.image import denoising
from engine.image.latents import LatentView
from engine.image.model import ImageRequest, ImageStep
from engine.image.pipelines import PipelineModel
from engine.image.placement import LAYER_BYTES, SLICED_WORK_BYTES, WORK_BYTES, Placement, place
from engine.jobs.job import CancelToken
from engine.models.pipeline_folder import inspect_pipeline
from tests.engine.image.tiny_pipelines import write_stable_diffusion, write_stable_diffusion_3
from tests.tiny import CPU

FOX = ImageRequest("a fox", width=64, height=64, steps=4, guidance=4.0)
RED = Image.new("RGB", (100, 60), "red")
WHOLE = Placement("whole", True, 0, 1)
WRITERS: dict[str, Callable[[Path], Path]] = {"noise": write_stable_diffusion, "flow": write_stable_diffusion_3}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name) / "pipeline") for name, write in WRITERS.items()}


@pytest.fixture(scope="module", params=list(WRITERS))
def model(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Iterator[PipelineModel]:
    made = PipelineModel("tiny", inspect_pipeline(folders[request.param]), CPU, WHOLE)
    yield made
    made.close()


def draw(model: PipelineModel, request: ImageRequest) -> Image.Image:
    return model.draw(request, CancelToken(), lambda step: None)


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and one.tobytes() == other.tobytes()


def test_the_same_request_gives_identical_pixels_and_everything_in_it_counts(model: PipelineModel) -> None:
    first = draw(model, FOX)
    assert first.size == (64, 64) and first.mode == "RGB" and model.native_size == (64, 64)
    assert same(first, draw(model, FOX))
    for other in (
        replace(FOX, seed=1),
        replace(FOX, prompt="a blue car"),
        replace(FOX, negative="blue"),
        replace(FOX, steps=5),
        replace(FOX, guidance=1.0),
        replace(FOX, scheduler="dpm++"),
    ):
        assert not same(first, draw(model, other)), other
    assert draw(model, replace(FOX, width=96, height=48)).size == (96, 48)


def test_every_scheduler_it_names_draws(model: PipelineModel) -> None:
    assert model.schedulers[0] == "euler" and len(model.schedulers) >= 4
    for name in model.schedulers:
        assert draw(model, replace(FOX, scheduler=name)).size == (64, 64), name
    with pytest.raises(BadOptionError, match="euler"):
        draw(model, replace(FOX, scheduler="magic"))
    with pytest.raises(BadOptionError, match="prompt"):
        draw(model, replace(FOX, style="oil"))


def test_pictures_and_masks_are_started_from(model: PipelineModel) -> None:
    start = replace(FOX, image=RED, steps=10)
    weak, strong = (draw(model, replace(start, strength=strength)) for strength in (0.2, 0.9))
    assert weak.size == strong.size == (64, 64) and not same(weak, strong)
    nothing = draw(model, replace(start, mask=Image.new("L", (100, 60), 0), strength=0.9))
    everything = draw(model, replace(start, mask=Image.new("L", (100, 60), 255), strength=0.9))
    assert not same(nothing, everything)
    clear = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    assert same(draw(model, replace(start, image=clear)), draw(model, replace(start, image=Image.new("RGB", (64, 64), "white"))))
    assert same(draw(model, FOX), draw(model, FOX))


@pytest.mark.parametrize("kind", ["words", "picture", "mask"])
def test_a_cancel_at_every_step_ends_it_there_and_the_next_picture_is_whole(model: PipelineModel, kind: str) -> None:
    changes: dict[str, Any] = {
        "words": {},
        "picture": {"image": RED},
        "mask": {"image": RED, "mask": Image.new("L", (8, 8), 255)},
    }
    request = replace(FOX, strength=1.0, **changes[kind])
    whole = draw(model, request)
    for at in range(4):
        cancel, seen = CancelToken(), list[int]()

        def watch(step: ImageStep, at: int = at, cancel: CancelToken = cancel, seen: list[int] = seen) -> None:
            seen.append(step.step)
            if step.step == at:
                cancel.cancel()

        if at == 0:
            cancel.cancel()
        with pytest.raises(CancelledError):
            model.draw(request, cancel, watch)
        assert seen == list(range(1, at + 1))
    assert same(whole, draw(model, request))


def test_a_cancel_reaches_into_a_step(model: PipelineModel) -> None:
    """A step of a large model takes seconds on a CPU: its blocks are asked, not only its end."""
    cancel = CancelToken()
    asked = 0
    check = cancel.check

    def counted() -> None:
        nonlocal asked
        asked += 1
        if asked == 4:
            cancel.cancel()
        check()

    cancel.check = counted  # type: ignore[method-assign]
    seen: list[ImageStep] = []
    with pytest.raises(CancelledError):
        model.draw(replace(FOX, steps=1), cancel, seen.append)
    assert seen == []


def test_previews_are_small_and_cost_no_decoding(model: PipelineModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoising, "PREVIEW_INTERVAL_S", 0.0)
    steps: list[ImageStep] = []
    model.draw(replace(FOX, steps=6), CancelToken(), steps.append)
    assert [(one.step, one.total) for one in steps] == [(number, 6) for number in range(1, 7)]
    shown = [one.preview for one in steps if one.preview is not None]
    assert shown and all(preview.size == (32, 32) for preview in shown)


def test_a_preview_has_the_colours_of_the_picture() -> None:
    """On an autoencoder whose latents are the picture's own colours, turned and shifted."""

    class Coded:
        mix = torch.tensor([[0.5, 0.2, 0.1, 0.3], [0.1, 0.6, 0.2, -0.2], [0.2, 0.1, 0.7, 0.1]])
        device, dtype = torch.device("cpu"), torch.float32
        config = type("Config", (), {"scaling_factor": 2.0, "shift_factor": 0.25})

        def encode(self, pixels: torch.Tensor) -> Any:
            small = pixels[:, :, ::8, ::8]
            latents = torch.einsum("nchw,cd->ndhw", small, self.mix)
            return type("Made", (), {"latent_dist": type("Exact", (), {"mode": lambda _: latents})()})

    coded = Coded()
    colours = torch.rand(1, 3, 4, 6) * 1.6 - 0.8
    latents = (torch.einsum("nchw,cd->ndhw", colours, coded.mix) - 0.25) * 2
    view = LatentView(coded)
    shown = view.picture(latents, 48, 32)
    assert shown is not None and shown.size == (6, 4)
    wanted = ((colours[0].permute(1, 2, 0) + 1) * 127.5).round()
    found = torch.tensor(list(shown.get_flattened_data() if hasattr(shown, "get_flattened_data") else shown.getdata())).view(
        4, 6, 3
    )
    assert (found - wanted).abs().max() <= 4
    packed = latents.view(1, 4, 2, 2, 3, 2).permute(0, 2, 4, 1, 3, 5).reshape(1, 6, 16)
    again = view.picture(packed, 48, 32)
    assert again is not None and again.tobytes() == shown.tobytes()
    assert view.picture(torch.zeros(1, 3, 4, 4, 4), 48, 32) is None


def test_memory_is_back_where_it_was_after_closing(folders: dict[str, Path]) -> None:
    facts = inspect_pipeline(folders["noise"])

    def tensors() -> int:
        gc.collect()
        return sum(1 for one in gc.get_objects() if issubclass(type(one), torch.Tensor))

    before = tensors()
    model = PipelineModel("tiny", facts, CPU, WHOLE)
    draw(model, replace(FOX, image=RED))
    with pytest.raises(CancelledError):
        cancel = CancelToken()
        model.draw(FOX, cancel, lambda step: cancel.cancel())
    gone = weakref.ref(model._pipelines["words"])
    assert tensors() > before
    model.close()
    assert tensors() == before and gone() is None
    with pytest.raises(NoModelError, match="unloaded"):
        draw(model, FOX)


def test_out_of_memory_is_a_sentence_and_the_next_picture_works(model: PipelineModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 3.00 GiB")

    with monkeypatch.context() as patch:
        patch.setattr("engine.image.pipelines.denoise", fail)
        with pytest.raises(NoModelError, match="64 × 64"):
            draw(model, FOX)
    assert draw(model, FOX).size == (64, 64)


def _lose(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _rewrite(name: str, **values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        row = json.loads((folder / name).read_text(encoding="utf-8"))
        (folder / name).write_text(json.dumps({**row, **values}), encoding="utf-8")

    return change


def _pickle(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(folder / "unet" / "diffusion_pytorch_model.bin")


def _truncate(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "no index": (_lose("model_index.json"), "no image model"),
    "no weights at all": (lambda folder: [path.unlink() for path in folder.rglob("*.safetensors")] and None, "no image model"),
    "pickled weights": (_pickle, "pickled"),
    "cut weights": (_truncate, "damaged"),
    "code beside the weights": (lambda folder: (folder / "pipeline.py").write_text("print(1)") and None, "never does"),
    "a class from elsewhere": (_rewrite("model_index.json", unet=["my_code", "Unet"]), "never does"),
    "auto_map": (_rewrite("unet/config.json", auto_map={"AutoModel": "evil.Model"}), "never does"),
    "a kernel from the hub": (_rewrite("text_encoder/config.json", _attn_implementation_internal="evil/kernel"), "never does"),
    "an unknown pipeline": (_rewrite("model_index.json", _class_name="EvilPipeline"), "cannot be loaded"),
    "half of its parts": (_rewrite("model_index.json", unet=[None, None]), "cannot be loaded|no image model"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_folder_that_is_unsafe_or_not_whole_is_one_sentence(folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    change, words = BAD[name]
    folder = tmp_path / "pipeline"
    shutil.copytree(folders["noise"], folder)
    change(folder)
    with pytest.raises(BadFileError, match=words) as refused:
        PipelineModel("bad", inspect_pipeline(folder), CPU, WHOLE)
    assert "\n" not in str(refused.value)


def test_half_precision_is_read_where_both_are_there(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "pipeline"
    shutil.copytree(folders["noise"], folder)
    unet = folder / "unet" / "diffusion_pytorch_model.safetensors"
    unet.rename(unet.with_name("diffusion_pytorch_model.fp16.safetensors"))
    facts = inspect_pipeline(folder)
    assert facts.variant == "fp16" and facts.parts == inspect_pipeline(folders["noise"]).parts
    model = PipelineModel("tiny", facts, CPU, WHOLE)
    assert draw(model, FOX).size == (64, 64)
    model.close()


GB = 10**9
PARTS = {"unet": 5 * GB, "text": 2 * GB, "vae": GB}


@pytest.mark.parametrize(
    ("have", "kind", "spread", "slices"),
    [
        (8 * GB + WORK_BYTES, "cuda", "whole", False),
        (8 * GB + WORK_BYTES - 1, "cuda", "whole", True),
        (8 * GB + SLICED_WORK_BYTES - 1, "cuda", "parts", True),
        (5 * GB + SLICED_WORK_BYTES - 1, "cuda", "layers", True),
        (GB, "cuda", "layers", True),
        (16 * GB, "cpu", "whole", False),
        (GB, "cpu", "whole", True),
        (GB, "mps", "whole", True),
    ],
)
def test_the_fastest_placement_that_fits_is_chosen(have: int, kind: str, spread: str, slices: bool) -> None:
    placement = place(PARTS, have, kind)
    assert (placement.spread, placement.slices) == (spread, slices)
    if spread == "layers":
        assert placement.need_bytes == LAYER_BYTES + SLICED_WORK_BYTES
