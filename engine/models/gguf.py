"""Turns a catalogued GGUF file into the form the studio loads: safetensors, config, tokenizer, chat template.

Runs once, in the child process that fetches; nothing on the way of a request reads a GGUF. Only the Llama architecture
with a byte-level BPE tokenizer. Knows no store and no network.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.errors import BadFileError

_CONTROL = 3
_USER_DEFINED = 4
"""tokenizer.ggml.token_type values: both are added tokens; control ones are special."""
_SLICE_ROWS = 4096
"""Rows of a matrix that are unpacked at once: the embedding is a third of a small model, and progress should move."""

_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_TOP_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def convert(source: Path, target: Path, on_tensor: Callable[[int, int], None]) -> None:
    """Write config.json, generation_config.json, model.safetensors (bfloat16), tokenizer.json, tokenizer_config.json and
    chat_template.jinja to `target`.

    `on_tensor(done_bytes, total_bytes)` is called after each few thousand rows and may raise to stop. Raises BadFileError
    for another architecture or tokenizer.
    """
    from gguf import GGUFReader

    reader = GGUFReader(source)
    meta = {name: field.contents() for name, field in reader.fields.items()}
    if meta.get("general.architecture") != "llama" or meta.get("tokenizer.ggml.model") != "gpt2":
        raise BadFileError(f"{source.name} is of a kind that cannot be converted.", key="error.gguf_kind", name=source.name)
    tied = not any(tensor.name == "output.weight" for tensor in reader.tensors)
    config = _config(meta, tied)
    _write_weights(reader, config, target / "model.safetensors", on_tensor)
    _write_json(target / "config.json", config)
    ends = {name: config[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    _write_json(target / "generation_config.json", ends)
    tokens = meta["tokenizer.ggml.tokens"]
    special = {f"{name}_token": tokens[config[f"{name}_token_id"]] for name in ("bos", "eos", "pad")}
    _write_json(target / "tokenizer_config.json", {**special, "model_max_length": config["max_position_embeddings"]})
    (target / "chat_template.jinja").write_text(meta.get("tokenizer.chat_template", ""), encoding="utf-8")
    _write_tokenizer(meta, target / "tokenizer.json")


def _config(meta: dict[str, Any], tied: bool) -> dict[str, Any]:
    heads = int(meta["llama.attention.head_count"])
    hidden = int(meta["llama.embedding_length"])
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": int(meta["llama.feed_forward_length"]),
        "num_hidden_layers": int(meta["llama.block_count"]),
        "num_attention_heads": heads,
        "num_key_value_heads": int(meta.get("llama.attention.head_count_kv", heads)),
        "head_dim": hidden // heads,
        "hidden_act": "silu",
        "max_position_embeddings": int(meta["llama.context_length"]),
        # GGUF keeps it as float32; the shortest decimal of that is what the model was made with.
        "rms_norm_eps": float(f"{meta['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        "rope_theta": float(meta["llama.rope.freq_base"]),
        "vocab_size": len(meta["tokenizer.ggml.tokens"]),
        "tie_word_embeddings": tied,
        "bos_token_id": int(meta["tokenizer.ggml.bos_token_id"]),
        "eos_token_id": int(meta["tokenizer.ggml.eos_token_id"]),
        "pad_token_id": int(meta.get("tokenizer.ggml.padding_token_id", meta["tokenizer.ggml.eos_token_id"])),
        "attention_bias": False,
        "mlp_bias": False,
        "dtype": "bfloat16",
    }


def _write_weights(reader: Any, config: dict[str, Any], path: Path, on_tensor: Callable[[int, int], None]) -> None:
    import torch
    from gguf import dequantize
    from safetensors.torch import save_file

    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    total = sum(int(tensor.n_bytes) for tensor in reader.tensors)
    done = 0
    tensors: dict[str, torch.Tensor] = {}
    for tensor in reader.tensors:
        slices = []
        for first in range(0, len(tensor.data), _SLICE_ROWS):
            packed = tensor.data[first : first + _SLICE_ROWS]
            slices.append(torch.from_numpy(dequantize(packed, tensor.tensor_type).copy()).to(torch.bfloat16))
            done += int(packed.nbytes)
            on_tensor(done, total)
        values = torch.cat(slices)
        part = tensor.name.split(".")[-2]
        tensors[_name(tensor.name)] = _rotate_halves(values, heads[part]).contiguous() if part in heads else values
    save_file(tensors, path, metadata={"format": "pt"})


def _rotate_halves(weight: Any, heads: int) -> Any:
    """GGUF interleaves the rotary pairs of each head's rows; the Llama code here wants the two halves one after the other."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _name(gguf_name: str) -> str:
    parts = gguf_name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{_LAYER_NAMES[parts[2]]}.{parts[3]}"
    return f"{_TOP_NAMES[parts[0]]}.{parts[1]}"


def _write_tokenizer(meta: dict[str, Any], path: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens: list[str] = meta["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in meta.get("tokenizer.ggml.merges") or ()]
    tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges))
    steps: list[Any] = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    if meta.get("tokenizer.ggml.pre") == "smollm":
        steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    kinds = meta.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    for token, kind in zip(tokens, kinds, strict=True):
        if kind in (_CONTROL, _USER_DEFINED):
            tokenizer.add_tokens([AddedToken(token, special=kind == _CONTROL, normalized=False)])
    tokenizer.save(str(path), pretty=False)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
