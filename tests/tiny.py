"""Tiny random models made on the spot: a Llama of two layers with a byte-level tokenizer, as the folder a real one would be.

Every byte is a token, so any text can be said, and characters of several bytes need several tokens. Nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest import MonkeyPatch

from engine.device import Device
from engine.models.adapters import AdapterRef
from engine.models.catalog import ModelSpec
from engine.text.local import LocalTextModel, load_local

START, END = "<|im_start|>", "<|im_end|>"
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CPU = Device("cpu", "float32", 1)


def make_tokenizer(path: Path) -> int:
    """Write a tokenizer.json with the 256 bytes and two control tokens; return the size of the vocabulary."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens = [START, END, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in (START, END)])
    tokenizer.save(str(path))
    return len(tokens)


def make_model(
    folder: Path, *, seed: int = 0, context_length: int = 512, template: str | None = TEMPLATE, kind: str = "Llama", **config: Any
) -> Path:
    """Write a random model (2 layers, 32 wide), by default a Llama, with tokenizer and chat template to `folder`; return it."""
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    size = make_tokenizer(folder / "tokenizer.json")
    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "vocab_size": size,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": context_length,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
        "initializer_range": 0.3,
    }
    model = getattr(transformers, f"{kind}ForCausalLM")(getattr(transformers, f"{kind}Config")(**{**settings, **config}))
    for name, weight in model.named_parameters():
        if kind != "Llama" and ("norm" in name or name.endswith(".bias")):  # as ones and zeros they would hide a mistake
            torch.nn.init.uniform_(weight, 0.5, 1.5)
    model.save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": START, "eos_token": END}), encoding="utf-8")
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder


LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def on_grid(weight: Any) -> Any:
    """The nearest weights that 4 bits in groups of 32 can hold."""
    groups = weight.float().view(len(weight), -1, 32)
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    scale = (high - low) / 15
    return (((groups - low) / scale).round() * scale + low).view(weight.shape)


def make_packable(folder: Path, layers: int = 3, heads: int = 4) -> Path:
    """A tiny model whose linear layers lie on the grid, in bfloat16 as a converted GGUF is."""
    from safetensors.torch import load_file, save_file

    make_model(folder, num_hidden_layers=layers, num_attention_heads=heads, head_dim=16)
    weights = load_file(folder / "model.safetensors")
    packed = {name: on_grid(weight) if name.split(".")[-2] in LINEARS else weight for name, weight in weights.items()}
    save_file({name: weight.bfloat16() for name, weight in packed.items()}, folder / "model.safetensors")
    return folder


def make_adapter(model: Path, folder: Path, *, seed: int = 0, rank: int = 4, targets: tuple[str, ...] = LINEARS) -> AdapterRef:
    """Write a random LoRA for the model in `model` as PEFT writes it to `folder`; strong enough to change every answer."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(targets), task_type="CAUSAL_LM"),
    )
    generator = torch.Generator().manual_seed(seed)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            weight.data = torch.randn(weight.shape, generator=generator) * (0.3 / weight.shape[1] ** 0.5)
    adapted.save_pretrained(folder)
    weights = (folder / "adapter_model.safetensors").read_bytes()
    return AdapterRef(folder.name, hashlib.sha256(weights).hexdigest(), folder)


def tiny_spec(folder: Path, model_id: str = "tiny", *, context_length: int = 512) -> ModelSpec:
    """The spec of a folder made by `make_model`."""
    return ModelSpec(
        model_id,
        "Tiny",
        "text",
        "llama",
        f"local:{folder}",
        languages=("en",),
        context_length=context_length,
        licence="Apache-2.0",
    )


@contextmanager
def desks(*, wanted: bool = True) -> Iterator[None]:
    """Models loaded here for transformers step at desks as on CUDA, but for the recording: a replay computes again."""
    from engine.text import transformers_backend

    def record(compute: Any) -> Any:
        result = compute()
        return lambda: result.copy_(compute())

    with MonkeyPatch.context() as patch:
        if wanted:
            patch.setattr(transformers_backend, "recorder", lambda device: record)
        yield


def load_tiny(folder: Path, model_id: str = "tiny", *, context_length: int = 512) -> LocalTextModel:
    """Load a folder made by `make_model` on the CPU with one thread; the caller closes it."""
    return load_local(tiny_spec(folder, model_id, context_length=context_length), folder, CPU)
