"""The encoder computes what transformers computes, the same vector for a text whatever stands beside it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import BadFileError, BusyError, NoModelError
from engine.models.catalog import ModelSpec
from engine.models.host import ModelHost
from engine.models.store import ModelStore
from engine.text.encoder import MAX_TOKENS, TextEncoder
from tests.tiny import CPU, make_tokenizer, tiny_spec

TEXTS = ["A cat.", "A longer text about a dog 🐕.", "", "x" * 400]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert")
    size = make_tokenizer(folder / "tokenizer.json")
    torch.manual_seed(0)
    settings = BertConfig(
        vocab_size=size, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, initializer_range=0.3
    )
    BertModel(settings, add_pooling_layer=False).save_pretrained(folder)
    return folder


def spec_of(folder: Path) -> ModelSpec:
    return ModelSpec("bert", "Bert", "embedding", "bert", f"local:{folder}")


def by_transformers(folder: Path, ids: list[int]) -> torch.Tensor:
    from transformers import BertModel

    with torch.inference_mode():
        states = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()(torch.tensor([ids])).last_hidden_state[0]
    mean: torch.Tensor = states.mean(0)
    return mean / mean.norm()


def test_vectors_are_those_of_transformers(folder: Path) -> None:
    encoder = TextEncoder(spec_of(folder), folder)
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (4, 32) and vectors.dtype == numpy.float32
    for text, vector in zip(TEXTS, vectors, strict=True):
        ids = encoder._tokenizer.encode(text).ids
        assert len(ids) <= MAX_TOKENS
        if ids:
            torch.testing.assert_close(torch.from_numpy(vector), by_transformers(folder, ids), rtol=1e-4, atol=1e-5)
    encoder.close()


def test_a_text_has_one_vector_whatever_stands_beside_it(folder: Path) -> None:
    encoder = TextEncoder(spec_of(folder), folder)
    together = encoder.encode([*TEXTS, *TEXTS])
    assert all(numpy.array_equal(encoder.encode([text])[0], together[number]) for number, text in enumerate(TEXTS))
    assert numpy.isfinite(together).all() and encoder.encode([]).shape == (0, 32)
    encoder.close()
    with pytest.raises(BusyError):
        encoder.encode(TEXTS)


def test_many_texts_together_have_the_same_states_but_for_the_last_bits(folder: Path) -> None:
    encoder = TextEncoder(spec_of(folder), folder)
    texts = ["a fox", "the red fox", "a cat", "", "the red cat", "a fox in the rain that went on for days"]
    alone, together = encoder.states(texts, 6), encoder.states(texts, 6, together=True)
    assert together.shape == (len(texts), 6, encoder.width)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert not together[3].any()
    encoder.close()


def test_damaged_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "embeddings.LayerNorm.weight": torch.ones(5)}, tmp_path / "model.safetensors")
    with pytest.raises(BadFileError, match="has the shape"):
        TextEncoder(spec_of(tmp_path), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x80\x04.")
    with pytest.raises(BadFileError, match="cannot be loaded"):
        TextEncoder(spec_of(tmp_path), tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(BadFileError, match="no BERT encoder"):
        TextEncoder(spec_of(tmp_path), tmp_path)


def test_the_host_keeps_counts_and_evicts_it(folder: Path, tmp_path: Path) -> None:
    specs = {"bert": spec_of(folder), "gone": spec_of(tmp_path / "gone"), "tiny": tiny_spec(folder)}
    host = ModelHost(ModelStore(tmp_path), lambda model_id: specs[model_id], CPU, 10**9)
    with host.use_encoder("bert") as one, host.use_encoder("bert") as two:
        assert one is two and one.encode(["hello"]).shape == (1, 32)
    row = host.loaded()[0]
    assert row.id == "bert" and row.in_use == 0 and row.size_bytes == one.size_bytes > 0
    with pytest.raises(NoModelError, match="does not write text"), host.use("bert"):
        pass
    with pytest.raises(NoModelError, match="cannot do that task"), host.use_encoder("tiny"):
        pass
    with pytest.raises(NoModelError, match="not installed"), host.use_encoder("gone"):
        pass
    assert host.unload("bert") and host.loaded() == ()
    host.close()


@pytest.mark.parametrize("failures", [1, 2])
def test_texts_are_encoded_one_at_a_time_when_memory_runs_out(folder: Path, failures: int) -> None:
    asked: list[int] = []
    encoder = TextEncoder(spec_of(folder), folder, lambda: asked.append(1))
    texts = ["hello", "world", "fox"]
    whole, rows, forward = encoder.states(texts, 8), list[int](), encoder._forward

    def short(ids: torch.Tensor) -> torch.Tensor:
        rows.append(len(ids))
        if len(rows) <= failures:
            raise MemoryError
        return forward(ids)

    encoder._forward = short  # type: ignore[method-assign]
    if failures == 1:
        assert torch.equal(encoder.states(texts, 8, together=True), whole) and set(rows[1:]) == {1}
    else:
        with pytest.raises(BusyError, match="Memory ran out while texts were read"):
            encoder.states(texts, 8, together=True)
    assert asked == [1] and torch.equal(encoder.states(texts, 8), whole)
    encoder.close()
