"""Hostile and damaged model folders are refused in one sentence, before anything of them is loaded."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import BadFileError
from engine.models.folder import inspect_folder, read_weights
from engine.text.local import load_local
from tests.tiny import CPU, make_model, tiny_spec

Spoil = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_model(tmp_path / "my model")


class Canary:
    """Would make a file if anybody unpickled it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (str(self.path), "w"))


def change_config(folder: Path, name: str = "config.json", **values: object) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def header(path: Path, prefix: bytes, text: bytes = b"", body: bytes = b"") -> None:
    path.write_bytes(prefix + text + body)


def write_header(folder: Path, tensors: dict[str, object], body: bytes = b"") -> None:
    text = json.dumps(tensors).encode()
    header(folder / "model.safetensors", struct.pack("<Q", len(text)), text, body)


def weights(folder: Path) -> Path:
    return folder / "model.safetensors"


def test_a_good_folder_is_described(folder: Path) -> None:
    facts = inspect_folder(folder)
    assert (facts.model_type, facts.architecture, facts.context_length) == ("llama", "LlamaForCausalLM", 512)
    assert facts.parameters * 4 < facts.size_bytes == weights(folder).stat().st_size


HOSTILE: dict[str, tuple[Spoil, str]] = {
    "no folder": (lambda f: f.rename(f.with_name("gone")), "no folder"),
    "no config": (lambda f: (f / "config.json").unlink(), "holds no model"),
    "config of garbage": (lambda f: (f / "config.json").write_bytes(b"\xff\x00{"), "config.json is damaged"),
    "config is a list": (lambda f: (f / "config.json").write_text("[1]"), "config.json is damaged"),
    "config nested too deeply": (lambda f: (f / "config.json").write_text('{"a":' * 100_000), "config.json is damaged"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer.json"),
    "auto_map": (lambda f: change_config(f, auto_map={"AutoModel": "evil.Model"}), "asks to run code"),
    "auto_map deep inside": (lambda f: change_config(f, text_config={"x": [{"auto_map": {"A": "b"}}]}), "asks to run code"),
    "auto_map of the tokenizer": (
        lambda f: change_config(f, "tokenizer_config.json", auto_map={"AutoTokenizer": ["a.B", None]}),
        "asks to run code",
    ),
    "kernel from the hub": (lambda f: change_config(f, _attn_implementation_internal="evil/kernel"), "asks to run code"),
    "kernel by the public name": (lambda f: change_config(f, attn_implementation="evil/kernel:run"), "asks to run code"),
    "another kind of model": (lambda f: change_config(f, architectures=["BertModel"]), "no model that writes text"),
    "quantised": (lambda f: change_config(f, quantization_config={"quant_method": "bitsandbytes"}), "quantised"),
    "an adapter": (lambda f: (f / "adapter_config.json").write_text("{}"), "adapter"),
    "truncated weights": (lambda f: weights(f).write_bytes(weights(f).read_bytes()[:-100]), "damaged"),
    "one byte too many": (lambda f: weights(f).write_bytes(weights(f).read_bytes() + b"x"), "damaged"),
    "empty weights": (lambda f: weights(f).write_bytes(b""), "damaged"),
    "header of 2^40 bytes": (lambda f: header(weights(f), struct.pack("<Q", 2**40), b"{}"), "damaged"),
    "header past the end": (lambda f: header(weights(f), struct.pack("<Q", 5000), b"{}"), "damaged"),
    "header is no JSON": (lambda f: header(weights(f), struct.pack("<Q", 4), b"abcd"), "damaged"),
    "tensor past the end": (lambda f: write_header(f, {"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}), "damaged"),
    "offsets lie": (
        lambda f: write_header(f, {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]}}, b"1234"),
        "damaged",
    ),
    "unknown type": (
        lambda f: write_header(f, {"a": {"dtype": "EVIL", "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
        "damaged",
    ),
    "a shard is missing": (
        lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-2.safetensors"}}'),
        "has no model-2.safetensors",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_bad_folder_is_refused(folder: Path, name: str) -> None:
    spoil, words = HOSTILE[name]
    spoil(folder)
    with pytest.raises(BadFileError, match=words) as caught:
        inspect_folder(folder)
    assert caught.value.message.endswith(".") and caught.value.message_key.startswith("error.")
    with pytest.raises(BadFileError):
        load_local(tiny_spec(folder), folder, CPU)


@pytest.mark.parametrize("file", ["model.safetensors", "model.SafeTensors"])
def test_a_pickle_under_another_name_is_never_opened(folder: Path, tmp_path: Path, file: str) -> None:
    weights(folder).unlink()
    canary = tmp_path / "canary"
    (folder / file).write_bytes(pickle.dumps(Canary(canary)))
    with pytest.raises(BadFileError, match="damaged or no safetensors"):
        load_local(tiny_spec(folder), folder, CPU)
    assert not canary.exists()


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.pt", "model.ckpt"])
def test_pickled_weights_are_refused_with_the_reason(folder: Path, tmp_path: Path, file: str) -> None:
    weights(folder).unlink()
    canary = tmp_path / "canary"
    (folder / file).write_bytes(pickle.dumps(Canary(canary)))
    with pytest.raises(BadFileError, match="pickled"):
        inspect_folder(folder)
    with pytest.raises(BadFileError, match="pickled"):
        read_weights(folder)
    assert not canary.exists()


def test_a_gguf_of_the_users_is_refused_with_the_reason(folder: Path) -> None:
    weights(folder).unlink()
    (folder / "config.json").unlink()
    (folder / "model.gguf").write_bytes(b"GGUF" + b"\0" * 64)
    with pytest.raises(BadFileError, match="GGUF"):
        inspect_folder(folder)


def test_weights_that_do_not_fit_the_config_are_refused(folder: Path) -> None:
    change_config(folder, hidden_size=64)
    with pytest.raises((BadFileError, RuntimeError)):
        load_local(tiny_spec(folder), folder, CPU)
