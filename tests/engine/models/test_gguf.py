"""Converting a GGUF: the same model and the same tokenizer come out, on a tiny Llama written as GGUF here."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from engine.errors import BadFileError
from engine.models.folder import inspect_folder
from engine.models.gguf import convert
from engine.text.chat import ChatFormat
from engine.text.model import Message
from tests.tiny import END, START, TEMPLATE, make_model

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def pairs(weight: np.ndarray, heads: int) -> np.ndarray:
    """The order of rows that llama.cpp's own converter writes for queries and keys."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_gguf(folder: Path, path: Path, *, arch: str = "llama") -> None:
    """Write the model in `folder` as an unquantised GGUF."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config, tokenizer = model.config, Tokenizer.from_file(str(folder / "tokenizer.json"))
    writer = gguf.GGUFWriter(str(path), arch)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    tokens = [tokenizer.id_to_token(number) for number in range(tokenizer.get_vocab_size())]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in (START, END) else 1 for token in tokens])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(1)
    writer.add_chat_template(TEMPLATE)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        values = tensor.numpy()
        if name.startswith("model.layers."):
            _, _, number, rest = name.split(".", 3)
            part = NAMES[rest.removesuffix(".weight")]
            values = pairs(values, heads[part]) if part in heads else values
            writer.add_tensor(f"blk.{number}.{part}.weight", np.ascontiguousarray(values))
        else:
            known = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
            writer.add_tensor(known.get(name, "output.weight"), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_model(tmp_path_factory.mktemp("original"))
    # What bfloat16 can hold, so that the converted model must be equal, not only close.
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model.float().save_pretrained(folder)
    from tokenizers import models

    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    assert tokenizer["model"]["type"] == models.BPE.__name__
    return folder


@pytest.fixture(scope="module")
def converted(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    write_gguf(original, folder / "model.gguf")
    target = folder / "out"
    target.mkdir()
    progress: list[tuple[int, int]] = []
    convert(folder / "model.gguf", target, lambda done, total: progress.append((done, total)))
    sizes = [done for done, _ in progress]
    assert sizes == sorted(sizes) and progress[-1][0] == progress[-1][1] > 0
    return target


def test_the_weights_are_the_same_model(original: Path, converted: Path) -> None:
    one = AutoModelForCausalLM.from_pretrained(original, dtype=torch.float32)
    other = AutoModelForCausalLM.from_pretrained(converted, dtype=torch.float32)
    ids = torch.tensor([[5, 9, 30, 77, 8, 120, 3]])
    with torch.inference_mode():
        assert torch.allclose(one(ids).logits, other(ids).logits, atol=1e-5)


def test_the_result_is_a_folder_like_any_other(converted: Path) -> None:
    facts = inspect_folder(converted)
    assert (facts.model_type, facts.context_length) == ("llama", 512)
    assert facts.size_bytes < facts.parameters * 2 + 100_000  # 16 bit


def test_tokenizer_and_template_work(converted: Path) -> None:
    chat = ChatFormat(converted)
    ids = chat.encode((Message("user", "猫 42"),))
    assert chat.tokenizer.decode(ids, skip_special_tokens=False) == f"{START}user\n猫 42{END}\n{START}assistant\n"
    assert chat.stop_ids == {1}
    pieces = chat.tokenizer.encode("x 42\n\n3", add_special_tokens=False).tokens
    assert "4" in pieces and "2" in pieces


def test_stopping_in_the_middle_leaves_no_weights(original: Path, tmp_path: Path) -> None:
    write_gguf(original, tmp_path / "model.gguf")

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(tmp_path / "model.gguf", tmp_path, stop)
    assert not (tmp_path / "model.safetensors").exists()


def test_another_architecture_is_refused(original: Path, tmp_path: Path) -> None:
    write_gguf(original, tmp_path / "model.gguf", arch="mamba")
    with pytest.raises(BadFileError, match="cannot be converted"):
        convert(tmp_path / "model.gguf", tmp_path, lambda done, total: None)
