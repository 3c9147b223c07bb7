"""Sentence embeddings: a BERT encoder in plain torch, float32 on the CPU; a text becomes the mean of its tokens' vectors.

Architecture: Devlin et al., "BERT" (arXiv:1810.04805); pooling: Reimers and Gurevych, "Sentence-BERT" (arXiv:1908.10084).
Plain torch because importing transformers takes longer than reading the weights. Knows a model folder and texts; knows no
ratings, no device but the CPU and no database.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError

from engine.device import is_out_of_memory
from engine.errors import BadFileError, BusyError
from engine.models.catalog import ModelSpec
from engine.models.folder import read_json
from engine.text.tensors import TensorReader

if TYPE_CHECKING:
    import numpy
    from tokenizers import Tokenizer

TOGETHER = 128
"""Texts of one length in one batch."""
MAX_TOKENS = 256
"""What all-MiniLM-L6-v2 was trained with; what is longer is cut."""
_LINEARS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_out": "attention.output.dense",
    "up": "intermediate.dense",
    "down": "output.dense",
}


@dataclass(frozen=True, slots=True)
class _Layer:
    linears: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    attention_norm: tuple[torch.Tensor, torch.Tensor]
    output_norm: tuple[torch.Tensor, torch.Tensor]


class TextEncoder:
    """One loaded encoder, thread-safe. Each text is computed alone, so that its vector is always the same.

    It computes in a thread of its own on one core: a text is small, and several cores that wait for each other are slower than
    one as soon as something else runs beside them.
    """

    def __init__(self, spec: ModelSpec, folder: Path, let_go: Callable[[], object] = lambda: None) -> None:
        """Read the folder; raises BadFileError when it is damaged or holds something else than a BERT encoder.

        `let_go` is called when memory runs out, before a second try with less at a time.
        """
        self.id = spec.id
        self._let_go = let_go
        config = read_json(folder / "config.json")
        if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu":
            raise _unusable(folder, "it is no BERT encoder")
        self._heads = int(config["num_attention_heads"])
        self._epsilon = float(config.get("layer_norm_eps", 1e-12))
        self.width: int = int(config["hidden_size"])
        """Numbers in a vector."""
        try:
            self._read(TensorReader(folder), config)
        except (SafetensorError, OSError, ValueError) as error:
            raise _unusable(folder, str(error).splitlines()[0][:200]) from error
        self._tokenizer = _tokenizer(folder, min(MAX_TOKENS, int(config["max_position_embeddings"])))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"{spec.id}-encoder", initializer=_use_one_core)

    @property
    def size_bytes(self) -> int:
        """Memory of the weights."""
        pairs = [self._norm, *(pair for layer in self._layers for pair in (*layer.linears.values(), *_norms(layer)))]
        return int(self._words.nbytes + self._places.nbytes + sum(tensor.nbytes for pair in pairs for tensor in pair))

    def encode(self, texts: Sequence[str]) -> numpy.ndarray[Any, numpy.dtype[numpy.float32]]:
        """One vector of length 1 for each text: float32, [texts, width]. The cosine of two is their dot product.

        A text without a token has a vector of zeros. Raises BusyError once the encoder is closed, and when memory runs out.
        """
        return self._run(lambda rows: self._encode(texts), 1).numpy()

    def states(self, texts: Sequence[str], max_tokens: int, *, together: bool = False) -> torch.Tensor:
        """The vector of each token, in order: float32 [texts, max_tokens, width]; zeros after a text's end, the rest is cut.

        `together` computes texts of the same length in one batch: many times faster for many texts, but the last bits of a
        vector then depend on its neighbours. Raises what `encode` raises.
        """
        return self._run(lambda rows: self._states(texts, max_tokens, rows), TOGETHER if together else 1)

    def close(self) -> None:
        """Finish what is being computed and let go of the weights."""
        self._thread.shutdown()
        self._layers.clear()
        self._words = self._places = torch.empty(0)

    def _run(self, work: Callable[[int], torch.Tensor], rows: int) -> torch.Tensor:
        """What `work` makes of so many texts at once; when memory runs out, of one at a time, after letting go of idle things."""
        try:
            return self._submitted(work, rows)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        self._let_go()
        try:
            return self._submitted(work, 1)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            text = "Memory ran out while texts were read. Nothing is lost; close other programs, or give it less text at once."
            raise BusyError(text, key="error.encoder_memory") from None  # its frames hold what was being computed

    def _submitted(self, work: Callable[[int], torch.Tensor], rows: int) -> torch.Tensor:
        try:
            future = self._thread.submit(work, rows)
        except RuntimeError as error:  # the thread is shut down
            raise BusyError("This model is being unloaded. Try again.", key="error.model_unloading") from error
        return future.result()

    def _states(self, texts: Sequence[str], max_tokens: int, rows: int) -> torch.Tensor:
        states = torch.zeros(len(texts), max_tokens, self.width)
        by_length = defaultdict[int, list[tuple[int, list[int]]]](list)
        for number, encoding in enumerate(self._tokenizer.encode_batch_fast(list(texts))):
            ids = encoding.ids[:max_tokens]
            by_length[len(ids)].append((number, ids))
        by_length.pop(0, None)
        with torch.inference_mode():
            for length, found in by_length.items():
                for start in range(0, len(found), rows):
                    numbers, ids_of = zip(*found[start : start + rows], strict=True)
                    states[list(numbers), :length] = self._forward(torch.tensor(ids_of))
        return states

    def _encode(self, texts: Sequence[str]) -> torch.Tensor:
        vectors = torch.zeros(len(texts), self.width)
        with torch.inference_mode():
            for number, text in enumerate(texts):
                ids = self._tokenizer.encode(text).ids
                if ids:
                    vectors[number] = F.normalize(self._forward(torch.tensor([ids]))[0].mean(0), dim=0)
        return vectors

    def _read(self, read: TensorReader, config: Mapping[str, Any]) -> None:
        width, inner = self.width, int(config["intermediate_size"])
        self._words = read("embeddings.word_embeddings.weight", int(config["vocab_size"]), width)
        kinds = read("embeddings.token_type_embeddings.weight", int(config["type_vocab_size"]), width)
        places = read("embeddings.position_embeddings.weight", int(config["max_position_embeddings"]), width)
        # A single text is all of the first kind.
        self._places = places + kinds[0]
        self._norm = _norm(read, "embeddings.LayerNorm", width)
        self._layers: list[_Layer] = []
        for number in range(int(config["num_hidden_layers"])):
            prefix = f"encoder.layer.{number}."
            shapes = {"up": (inner, width), "down": (width, inner)}
            linears = {}
            for name, path in _LINEARS.items():
                shape = shapes.get(name, (width, width))
                linears[name] = (read(f"{prefix}{path}.weight", *shape), read(f"{prefix}{path}.bias", shape[0]))
            norms = (_norm(read, f"{prefix}{path}.LayerNorm", width) for path in ("attention.output", "output"))
            self._layers.append(_Layer(linears, *norms))

    def _forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Hidden states after the last layer, [texts, tokens, width], of ids [texts, tokens]."""
        texts, count, width = *ids.shape, self.width
        x = self._normed(self._words[ids] + self._places[:count], self._norm)
        for layer in self._layers:
            linear = layer.linears
            query, key, value = (
                F.linear(x, *linear[name]).view(texts, count, self._heads, -1).transpose(1, 2)
                for name in ("query", "key", "value")
            )
            seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(texts, count, width)
            x = self._normed(x + F.linear(seen, *linear["attention_out"]), layer.attention_norm)
            inner = F.gelu(F.linear(x, *linear["up"]))
            x = self._normed(x + F.linear(inner, *linear["down"]), layer.output_norm)
        return x

    def _normed(self, x: torch.Tensor, norm: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        weight, bias = norm
        return F.layer_norm(x, (self.width,), weight, bias, self._epsilon)


def _use_one_core() -> None:
    torch.set_num_threads(1)


def _norms(layer: _Layer) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    return layer.attention_norm, layer.output_norm


def _norm(read: TensorReader, path: str, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    return read(f"{path}.weight", width), read(f"{path}.bias", width)


def _tokenizer(folder: Path, limit: int) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # noqa: BLE001  # tokenizers raises plain Exception for a damaged file
        raise BadFileError(f"tokenizer.json of {folder.name} is damaged.", key="error.tokenizer", name=folder.name) from error
    tokenizer.enable_truncation(limit)
    tokenizer.no_padding()
    return tokenizer


def _unusable(folder: Path, reason: str) -> BadFileError:
    return BadFileError(f"{folder.name} cannot be loaded: {reason}.", key="error.model_load", name=folder.name)
