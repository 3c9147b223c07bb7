"""Llama-like models on the CPU: in float32 at once, and in the fastest form as soon as it is prepared.

Importing transformers' Llama takes longer than importing torch and reading the weights together, and a first answer should
come at once. Other architectures, devices and dtypes go through transformers; the tests hold both to the same logits.
Knows no tokenizer, sampling or threads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError

from engine.arrays import Floats
from engine.device import Device, torch_version
from engine.errors import BadFileError
from engine.memory import Arbiter, Machine
from engine.models.adapters import BASE, LoraWeights
from engine.text.llama.adapter import LlamaAdapter, fuse_adapter
from engine.text.llama.config import LlamaConfig
from engine.text.llama.forms import FLOAT32, VERSION, Form, LlamaCache
from engine.text.llama.prepared import read_facts, read_form
from engine.text.llama.preparing import Preparing

if TYPE_CHECKING:
    from engine.text.llama.torch_form import TorchForm
    from engine.text.llama.weights import LlamaWeights

MAX_TOGETHER = 16
"""Rows of one pass. Weights are read once for all of them; past this the arithmetic itself takes the time."""

logger = logging.getLogger(__name__)


class LlamaBackend:
    """One loaded model; implements engine.text.backend.TextBackend."""

    max_together = MAX_TOGETHER

    def __init__(self, config: LlamaConfig, weights: Callable[[], LlamaWeights], form: Form | None = None) -> None:
        """`weights` reads the float32 weights, when they are first needed. Without a `form` everything is computed in float32."""
        self._config = config
        self._read_weights = weights
        self._plain: TorchForm | None = None
        self._best = form
        self._is_closed = False
        self._threads: int | None = None
        self.preparing: Preparing | None = None
        self.vocabulary_size = config.vocabulary

    def adopt(self, form: Form) -> None:
        """Take up a form for the caches that are made from now on. May be called from any thread."""
        if not self._is_closed:
            if self._threads is not None:
                form.use_threads(self._threads)
            self._best = form
            if not form.needs_float32:
                self._plain = None  # what still writes in it keeps it until it ends

    @property
    def size_bytes(self) -> int:
        """Memory of the weights in all their forms."""
        forms = {id(form): form.nbytes for form in (self._plain, self._best) if form is not None}
        return sum(forms.values())

    def use_threads(self, count: int) -> None:
        """See TextBackend. For all forms: a cache may be of another one than the best."""
        self._threads = count
        for form in (self._plain, self._best):
            if form is not None:
                form.use_threads(count)

    def prepare_adapter(self, weights: LoraWeights) -> LlamaAdapter:
        """The adapter's terms, fused as the layers are. Raises BadFileError when it is of another model."""
        return fuse_adapter(weights, self._config)

    def new_cache(self, adapter: LlamaAdapter | None = None, path: Mapping[str, Any] | None = None) -> LlamaCache:
        """An empty cache, computed with `adapter`, in the form that `path` records where it can be had."""
        best = None if (path or {}).get("dtype") == FLOAT32 else self._best
        form = best or self.float32()
        return LlamaCache(form.new_layers(), adapter, form)

    def facts(self, cache: LlamaCache) -> Mapping[str, Any]:
        """What a path records of this cache's arithmetic."""
        return {
            "engine": "llama",
            "engine_version": VERSION,
            "torch": torch_version(),
            "dtype": cache.form.name,
            "device": "cpu",
        }

    def is_row_by_row(self, cache: LlamaCache) -> bool:
        """Whether `step_together` gives this cache the very logits that `step` would."""
        return cache.form.is_row_by_row(cache.adapter)

    def can_guess(self, cache: LlamaCache) -> bool:  # noqa: ARG002  # of any that is computed with others
        """See TextBackend."""
        return True

    def can_cut(self, cache: LlamaCache) -> bool:
        """See TextBackend."""
        return cache.form.can_cut

    def is_current(self, cache: LlamaCache) -> bool:
        """See TextBackend."""
        return cache.form is (self._best or self._plain)

    def adapter_of(self, cache: LlamaCache) -> str:
        """The sha256 of the very weights that are added for this cache, or "base"."""
        return BASE if cache.adapter is None else str(cache.adapter.sha256)

    def prefill(self, cache: LlamaCache, ids: Sequence[int]) -> None:
        """Append `ids` to the cache in one pass; the head is not computed."""
        cache.form.prefill(cache, ids)

    def step(self, cache: LlamaCache, token: int) -> Floats:
        """Append one token; logits [vocabulary]."""
        logits: Floats = self.step_together((cache,), (token,))[0]
        return logits

    def step_together(self, caches: Sequence[LlamaCache], ids: Sequence[int]) -> Floats:
        """Append one token to each cache, all of one form in one pass. [rows, vocabulary].

        A cache that is given several times gets its tokens one behind the other.
        """
        forms: dict[int, Form] = {id(cache.form): cache.form for cache in caches}
        if len(forms) == 1:
            (form,) = forms.values()
            return form.step_together(caches, ids)
        logits = np.empty((len(ids), self.vocabulary_size), np.float32)
        for form in forms.values():
            rows = [row for row, cache in enumerate(caches) if cache.form is form]
            logits[rows] = form.step_together([caches[row] for row in rows], [ids[row] for row in rows])
        return logits

    def log_probabilities(self, cache: LlamaCache, ids: Sequence[int], targets: Sequence[int]) -> Floats:
        """Append `ids` in one pass; log-probability of each target behind its token, [tokens]."""
        return cache.form.log_probabilities(cache, ids, targets)

    def fork(self, cache: LlamaCache, length: int) -> LlamaCache:
        """A cache of its own with the first `length` tokens; copies nothing."""
        return cache.fork(length)

    def shorten(self, cache: LlamaCache, length: int) -> None:
        """Forget what lies behind the first `length` tokens."""
        cache.shorten(length)

    def close(self) -> None:
        """Let go of the weights."""
        if self.preparing is not None:
            self.preparing.close()
        self._is_closed = True
        self._plain = self._best = None

    def float32(self) -> TorchForm:
        """The form that can always be had; its weights are read when they are first needed. Raises BadFileError then."""
        if self._is_closed:
            raise RuntimeError("the backend is closed")
        if self._plain is None:
            from engine.text.llama.torch_form import TorchForm

            self._plain = TorchForm(self._read_weights(), self._config)
            if self._threads is not None:
                self._plain.use_threads(self._threads)
        return self._plain


def load_llama(
    folder: Path, config: LlamaConfig, prepared: Path | None = None, threads: int = 1, arbiter: Arbiter | None = None
) -> LlamaBackend:
    """Load a checked folder, in the form that was prepared of it in the folder `prepared`; None = float32 only.

    Where nothing is prepared yet, that begins in a child process, if the arbiter has room for one. Raises BadFileError when
    weights do not fit the config.
    """

    def weights() -> LlamaWeights:
        from engine.text.llama.weights import read_weights

        try:
            return read_weights(folder, config)
        except (SafetensorError, OSError, ValueError) as error:
            raise BadFileError(
                f"{folder.name} cannot be loaded: {str(error).splitlines()[0][:200]}.", key="error.model_load", name=folder.name
            ) from error

    backend = LlamaBackend(config, weights)
    if prepared is not None and not _adopt(backend, folder, config, prepared):
        backend.preparing = Preparing(
            folder,
            prepared,
            threads,
            lambda: _adopt(backend, folder, config, prepared),
            need_bytes=backend.float32().nbytes,
            arbiter=arbiter or Machine(Device("cpu", "float32", threads)),
        )
    if not backend.size_bytes:
        backend.float32()
    return backend


def _adopt(backend: LlamaBackend, folder: Path, config: LlamaConfig, prepared: Path) -> bool:
    """Take up the form that was prepared, if it is of use; whether one was prepared. Damaged files are only a loss of speed."""
    facts = read_facts(folder, prepared)
    if facts is None:
        return False
    try:
        form = read_form(facts, prepared, config, backend.float32)
        if form is not None:
            backend.adopt(form)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        logger.warning("the prepared form of %s cannot be used: %s", folder.name, error)
    return True
