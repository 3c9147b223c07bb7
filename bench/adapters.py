"""What adapters, batching and scoring cost on the starter text model.

    python -m bench.adapters [--runs 5] [--tokens 32] [--rows 16] [--learned FOLDER]

Decoding with a rank-16 LoRA on all linear layers over decoding the base model; so many answers in one batch over the same
answers one after another, half of them with an adapter; tokens scored in a second. Ratios are taken run by run in one process,
so they hold on a busy machine; absolute figures are only worth anything on an idle one. With --learned (what
`python -m bench.learning --keep FOLDER` left there) also how often each trained adapter prefers the answer to an unseen prompt
that its rater preferred, in the form that writes and in float32.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path

import torch

from engine.device import choose_device
from engine.jobs.job import CancelToken
from engine.models.adapters import AdapterRef, load_lora
from engine.models.catalog import STARTER_TEXT_ID, ModelSpec
from engine.models.store import ModelStore
from engine.text.local import LocalTextModel, load_local
from engine.text.model import GenerateRequest, Message, Sampling
from tests.starter import starter_catalog, starter_models, starter_text_model

PROMPTS = ("Write a tagline for a bakery.", "Describe a storm at sea.", "Explain rain to a child.", "Invite friends to dinner.")
TEXT = "The keeper climbed the stairs every evening and lit the lamp, and every morning he wrote down what had passed. " * 6


def random_adapter(folder: Path, rank: int = 16) -> AdapterRef:
    """A LoRA on all linear layers of the starter model, weak enough to leave its language alone."""
    from safetensors.torch import save_file

    wide = {"q_proj": (576, 576), "k_proj": (576, 192), "v_proj": (576, 192), "o_proj": (576, 576)}
    deep = {"gate_proj": (576, 1536), "up_proj": (576, 1536), "down_proj": (1536, 576)}
    tensors = {}
    for layer in range(30):
        for part, modules in (("self_attn", wide), ("mlp", deep)):
            for name, (width, out) in modules.items():
                prefix = f"base_model.model.model.layers.{layer}.{part}.{name}"
                tensors[f"{prefix}.lora_A.weight"] = torch.randn(rank, width) * 0.01
                tensors[f"{prefix}.lora_B.weight"] = torch.randn(out, rank) * 0.01
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return AdapterRef(folder.name, hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest(), folder)


def decode(model: LocalTextModel, adapter: AdapterRef | None, tokens: int) -> float:
    """Tokens/s of the backend alone, greedy."""
    backend = model._scheduler._backend
    cache = backend.new_cache(None if adapter is None else backend.prepare_adapter(load_lora(adapter.folder)))
    ids = model.chat.encode((Message("user", PROMPTS[0]),))
    backend.prefill(cache, ids[:-1])
    token = int(backend.step(cache, ids[-1]).argmax())
    start = time.monotonic()
    for _ in range(tokens):
        token = int(backend.step(cache, token).argmax())
    return tokens / (time.monotonic() - start)


def answers(model: LocalTextModel, adapter: AdapterRef, rows: int, tokens: int, *, batched: bool) -> float:
    """Tokens/s of `rows` answers: all at once in a batch, or one after another."""
    requests = [
        GenerateRequest(
            (Message("user", PROMPTS[row % len(PROMPTS)]),),
            Sampling(max_new_tokens=tokens),
            (row,),
            adapter=adapter if row % 2 else None,
            batched=batched,
        )
        for row in range(rows)
    ]

    def write(request: GenerateRequest) -> None:
        for _ in model.generate(request, CancelToken()):
            pass

    start = time.monotonic()
    if batched:
        threads = [threading.Thread(target=write, args=(request,)) for request in requests]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        for request in requests:
            write(request)
    return rows * tokens / (time.monotonic() - start)


def score(model: LocalTextModel) -> float:
    """Answer tokens scored in a second."""
    start = time.monotonic()
    scored = model.score((Message("user", PROMPTS[1]),), TEXT)
    return len(scored.tokens) / (time.monotonic() - start)


def preferred(folder: Path) -> str:
    """Over all raters of a folder: how often the adapter makes the chosen answer likelier than the other, by its form."""
    fast, plain = starter_text_model(), load_local(*_starter(), choose_device("cpu"))
    hits, total, same = {fast: 0, plain: 0}, 0, 0
    try:
        for known in sorted(folder.glob("rater-*.json")):
            (config,) = known.with_suffix("").glob("**/adapter_config.json")
            digest = hashlib.sha256((config.parent / "adapter_model.safetensors").read_bytes()).hexdigest()
            adapter = AdapterRef(config.parent.name, digest, config.parent)
            for match in json.loads(known.read_text(encoding="utf-8"))["matches"]:
                if match["choice"] not in ("left", "right") or match["left"] == match["right"]:
                    continue
                chosen, other = match[match["choice"]], match["right" if match["choice"] == "left" else "left"]
                found = [
                    _gain(model, adapter, match["prompt"], chosen) > _gain(model, adapter, match["prompt"], other)
                    for model in hits
                ]
                for model, is_hit in zip(hits, found, strict=True):
                    hits[model] += is_hit
                total, same = total + 1, same + (found[0] == found[1])
    finally:
        fast.close()
        plain.close()
    shares = [hit / total for hit in hits.values()]
    said = f"{total} choices on unseen prompts: {shares[0]:.1%} as chosen, in float32 {shares[1]:.1%}"
    return f"{said}; both say the same in {same / total:.1%}"


def _starter() -> tuple[ModelSpec, Path]:
    spec = starter_catalog().get(STARTER_TEXT_ID)
    return spec, ModelStore(starter_models()).path(spec)


def _gain(model: LocalTextModel, adapter: AdapterRef, prompt: str, answer: str) -> float:
    """How much likelier the adapter makes an answer (nats): the implicit reward of Rafailov et al., arXiv:2305.18290."""
    asked = (Message("user", prompt),)
    with_adapter, without = (sum(model.score(asked, answer, adapter=one).token_logprobs) for one in (adapter, None))
    return with_adapter - without


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--learned", type=Path, help="a folder that bench.learning kept")
    arguments = parser.parse_args()
    if arguments.learned:
        print(preferred(arguments.learned))
        return
    model = starter_text_model()
    model.chat.stop_ids = frozenset()
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as root:
        adapter = random_adapter(Path(root) / "random")
        decode(model, adapter, 4)
        for _ in range(arguments.runs):
            for name, value in (
                ("base", decode(model, None, arguments.tokens)),
                ("adapter", decode(model, adapter, arguments.tokens)),
                ("one by one", answers(model, adapter, arguments.rows, arguments.tokens, batched=False)),
                ("batched", answers(model, adapter, arguments.rows, arguments.tokens, batched=True)),
                ("scored", score(model)),
            ):
                found.setdefault(name, []).append(value)
    model.close()
    print(f"load average {os.getloadavg()[0]:.1f}, medians of {arguments.runs}")
    for name, values in found.items():
        print(f"{name:12} {statistics.median(values):7.1f} tok/s")
    for name, over in (("adapter", "base"), ("batched", "one by one")):
        ratios = [value / other for value, other in zip(found[name], found[over], strict=True)]
        print(f"{name} / {over}: {statistics.median(ratios):.2f} (each run: {', '.join(f'{ratio:.2f}' for ratio in ratios)})")


if __name__ == "__main__":
    main()
