"""/imagine and /media from outside: pictures by address, labels inside them, one sentence for what cannot work."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from engine.safety.labels import read_labels
from storage.records import LOCAL_OWNER
from tests.ui.served import Served, serve

FIELDS = {"job_id", "creation_ids", "images", "seeds", "duration_s", "status", "model", "notices"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture(autouse=True)
def plain_model(served: Served) -> None:
    served.image_model.fail_at = None


def picture_file(folder: Path, *, colour: Any = "red", size: tuple[int, int] = (64, 64), mode: str = "RGB") -> str:
    path = folder / f"{mode}-{colour}.png"
    Image.new(mode, size, colour).save(path)
    return str(path)


def test_imagine_answers_with_addresses_that_give_the_pictures(served: Served) -> None:
    wish = {"n": 2, "seed": 5, "style": "flat", "preset": "fast", "width": 128, "height": 128}
    answer = served.call("imagine", "a red fox", wish)
    assert set(answer) == FIELDS and answer["seeds"] == [5, 6] and answer["status"] == "done"
    for address, creation_id, seed in zip(answer["images"], answer["creation_ids"], answer["seeds"], strict=True):
        assert address == f"/media/{creation_id}"
        got = httpx.get(served.url + address)
        assert got.status_code == 200 and got.headers["content-type"] == "image/png"
        assert got.headers["x-content-type-options"] == "nosniff" and "private" in got.headers["cache-control"]
        assert "content-disposition" not in got.headers
        with Image.open(io.BytesIO(got.content)) as picture:
            assert picture.size == (128, 128)
        labels = read_labels(got.content)
        assert labels is not None and (labels.prompt, labels.seed, labels.creation_id) == ("a red fox", seed, creation_id)
    versioned = httpx.get(f"{served.url}{answer['images'][0]}?v=1")
    assert "immutable" in versioned.headers["cache-control"] and "public" not in versioned.headers["cache-control"]


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_exiftool_reads_the_labels_in_what_media_returns(served: Served, tmp_path: Path) -> None:
    answer = served.call("imagine", "a blue cup", {"seed": 9})
    address = served.url + answer["images"][0]
    for name, url in {"a.png": address, "b.webp": f"{address}/export?format=webp", "c.webp": f"{address}/thumb"}.items():
        path = tmp_path / name
        path.write_bytes(httpx.get(url).content)
        command = ["exiftool", "-json", "-G1", str(path)]
        said = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)[0]
        assert said["XMP-iptcExt:DigitalSourceType"].endswith("/trainedAlgorithmicMedia")
        label = next(value for name, value in said.items() if name.lower() == "xmp-tc260:aigc")
        label = json.loads(label) if isinstance(label, str) else label
        assert label["Label"] == "1" and label["ProduceID"] == answer["creation_ids"][0]
        text = said.get("PNG:Parameters") or said["ExifIFD:UserComment"]
        assert text.startswith("a blue cup") and "Seed: 9" in text


def test_a_picture_is_exported_in_each_format_with_its_labels(served: Served) -> None:
    address = served.url + served.call("imagine", "a cup", {"transparent": True})["images"][0]
    for format, kind in {"png": "image/png", "webp": "image/webp", "jpeg": "image/jpeg"}.items():
        got = httpx.get(f"{address}/export?format={format}&visible=true")
        assert got.headers["content-type"] == kind and got.headers["content-disposition"].startswith("attachment;")
        labels = read_labels(got.content)
        assert labels is not None and labels.prompt == "a cup"
        with Image.open(io.BytesIO(got.content)) as picture:
            corner = picture.convert("RGB").getpixel((picture.width - 2, picture.height - 2))
            assert isinstance(corner, tuple) and max(corner) < 60  # the plate of the visible label
    wrong = httpx.get(f"{address}/export?format=gif")
    assert wrong.status_code == 400 and "png, webp or jpeg" in wrong.json()["detail"]
    for path in ("", "/thumb", "/export"):
        assert httpx.get(f"{served.url}/media/{'0' * 32}{path}").status_code == 404


def test_a_start_picture_and_a_mask_are_uploaded_or_named(served: Served, tmp_path: Path) -> None:
    start, mask = picture_file(tmp_path), picture_file(tmp_path, colour=255, mode="L")
    options = {"init_image": handle_file(start), "mask": handle_file(mask), "strength": 0.5}
    answer = served.call("imagine", "a fox", options)
    assert served.image_model.requests[-1].image is not None and served.image_model.requests[-1].mask is not None
    served.call("imagine", "as a painting", {"init_image": answer["creation_ids"][0]})
    assert served.image_model.requests[-1].mask is None
    larger = served.call("imagine", "", {"init_image": answer["creation_ids"][0], "upscale": 2})
    with Image.open(io.BytesIO(httpx.get(served.url + larger["images"][0]).content)) as picture:
        assert picture.size == (1024, 1024)


def test_the_library_lists_pictures_with_their_address(served: Served) -> None:
    answer = served.call("imagine", "an unmistakable walrus", {"n": 2})
    found = served.call("library", "walrus", {"kind": "image"}, 1)
    assert found["total"] == 2 and {item["media"] for item in found["items"]} == set(answer["images"])
    assert all("text" not in item and item["status"] == "done" for item in found["items"])
    best, other = answer["creation_ids"]
    assert served.call("rate", best, 1, None)["counts"]["by_task"]["image"]["ratings"] >= 1
    assert len(served.call("prefer", best, [other], None)["preference_ids"]) == 1
    assert served.call("library", "walrus", {"kind": "image", "min_score": 0.5}, 1)["total"] == 1


def test_a_stop_ends_the_call_with_what_is_there(served: Served) -> None:
    served.image_model.hold()
    job = served.client.submit("stop me", {"n": 3, "steps": 2}, api_name="/imagine")
    served.image_model.release(2)
    deadline = time.monotonic() + 20
    while not served.studio.jobs.active(LOCAL_OWNER) and time.monotonic() < deadline:
        time.sleep(0.02)
    job_id = served.studio.jobs.active(LOCAL_OWNER)[0].job_id
    while served.call("run", job_id)["step"] != 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    served.call("cancel", job_id)
    answer = job.result(timeout=20)
    served.image_model._permits = None
    assert answer["status"] == "cancelled" and answer["images"][0] and answer["images"][1:] == [None, None]


def test_a_failure_of_the_model_is_its_code_and_sentence(served: Served) -> None:
    served.image_model.fail_at = len(served.image_model.requests) + 1
    with pytest.raises(AppError, match=r"^\[no_model\] The model broke\.$"):
        served.call("imagine", "a fox", None)
    item = served.call("library", "", {"kind": "image"}, 1)["items"][0]
    assert item["status"] == "failed" and item["media"] is None


@pytest.mark.parametrize(
    ("prompt", "options", "code", "named"),
    [
        ("", None, "bad_option", "prompt"),
        (None, None, "bad_option", "prompt"),
        ("x" * 5000, None, "too_long", "5,000"),
        ("x", {"stepz": 3}, "bad_option", '"stepz"'),
        ("x", {"width": 40_000}, "bad_option", '"width"'),
        ("x", {"width": 256, "height": 128}, "bad_option", "square"),
        ("x", {"style": "oil"}, "bad_option", "flat, line"),
        ("x", {"scheduler": "magic"}, "bad_option", "euler"),
        ("x", {"model": "no-such-model"}, "not_found", "no-such-model"),
        ("x", {"model": "smollm2-135m-instruct"}, "no_model", ""),
        ("x", {"adapter": "nobody"}, "bad_option", "adapter"),
        ("x", {"init_image": "0" * 32}, "not_found", ""),
        ("x", {"init_image": {"path": "/etc/passwd"}}, "bad_file", ""),
        ("x", {"mask": "0" * 32}, "bad_option", "mask"),
        ("x", {"n": True}, "bad_option", '"n"'),
        ("x", {"strength": 0}, "bad_option", '"strength"'),
        ("x", {"rank_by": "taste"}, "bad_option", "taste"),
        ("x", {"idempotency_key": 5}, "bad_option", "idempotency_key"),
        ("x", [], "bad_option", "object"),
    ],
)
def test_bad_input_is_one_sentence_with_a_code(served: Served, prompt: Any, options: Any, code: str, named: str) -> None:
    with pytest.raises(AppError) as caught:
        served.call("imagine", prompt, options)
    message = str(caught.value)
    assert message.startswith(f"[{code}] ") and named in message and "\n" not in message and len(message) < 400


def test_a_file_that_is_no_picture_is_refused(served: Served, tmp_path: Path) -> None:
    page = tmp_path / "page.png"
    page.write_text("<svg onload=alert(1)>", encoding="utf-8")
    with pytest.raises(AppError, match=r"^\[bad_file\] "):
        served.call("imagine", "a fox", {"init_image": handle_file(page)})
    huge = picture_file(tmp_path, mode="L", colour=0, size=(16_000, 16_000))
    with pytest.raises(AppError, match=r"^\[too_long\] .*64 megapixels"):
        served.call("imagine", "a fox", {"init_image": handle_file(huge)})
