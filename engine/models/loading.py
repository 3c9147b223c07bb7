"""From a spec to a loaded model: which class reads which folder, with every file verified on the way.

Knows families and folders; counts nothing and keeps nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, TypeVar

from engine.device import Device
from engine.errors import BadFileError, StudioError
from engine.image.libraries import quiet
from engine.memory import Arbiter
from engine.models.catalog import ModelSpec, ServerSource, parse_source
from engine.models.needs import Need
from engine.models.pipeline_folder import STICKER_FAMILY, inspect_pipeline
from engine.models.store import ModelStore

if TYPE_CHECKING:
    from torch import Tensor

    from engine.text.encoder import TextEncoder

_ENCODER_WIDTH = 384
"""Of the starter encoder's vectors; what works with it was taught with it."""


class Loaded(Protocol):
    """What the host keeps, whatever it does."""

    @property
    def size_bytes(self) -> int:
        """Memory that it occupies on this machine now."""

    def close(self) -> None:
        """End what it does and free its memory."""


L = TypeVar("L", bound=Loaded)


class EncoderHost(Protocol):
    """Who lends the encoder."""

    def use_encoder(self) -> AbstractContextManager[TextEncoder]:
        """Load it if need be and keep it for the `with` block."""


class ModelLoader:
    """Loads installed models. Raises BadFileError for damaged folders, MemoryError or RuntimeError when memory runs out."""

    def __init__(
        self,
        store: ModelStore,
        device: Device,
        key_lookup: Callable[[str], str | None],
        arbiter: Arbiter,
        encoders: EncoderHost,
    ) -> None:
        self._store = store
        self._device = device
        self._key_lookup = key_lookup
        self._arbiter = arbiter
        self._words = HostedWords(encoders)

    def __call__(self, spec: ModelSpec, need: Need) -> Loaded:
        """The model, loaded so that it takes what `need` says."""
        source = parse_source(spec.source)
        if isinstance(source, ServerSource):
            from engine.text.openai_backend import OpenAITextModel

            return OpenAITextModel(spec, source, self._key_lookup(spec.id))
        if spec.task == "embedding":
            from engine.text.encoder import TextEncoder

            folder = self._store.path(spec)
            return self._load_verified(spec, lambda: TextEncoder(spec, folder, self._arbiter.let_go))
        if spec.task == "image":
            return self._load_verified(spec, lambda: self._load_image(spec, need))
        from engine.text.local import load_local

        folder, prepared = self._store.path(spec), self._store.prepared_path(spec)
        return self._load_verified(
            spec,
            lambda: load_local(
                spec,
                folder,
                self._device,
                prepared,
                arbiter=self._arbiter,
                cache_bytes=need.cache_bytes,
                weight_bits=need.weight_bits,
            ),
        )

    def _load_image(self, spec: ModelSpec, need: Need) -> Loaded:
        quiet()
        folder = self._store.path(spec)
        if spec.family == STICKER_FAMILY:
            from engine.image.sticker import StickerModel

            try:
                return StickerModel(spec.id, folder, self._words, self._device.name, self._arbiter)
            except (OSError, ValueError, KeyError, TypeError) as error:
                text = f"{spec.name} cannot be read: {str(error).splitlines()[0][:200]}."
                raise BadFileError(text, key="error.model_read", name=spec.name, reason=str(error)[:200]) from error
        from engine.image.pipelines import PipelineModel

        assert need.placement is not None, "a pipeline's need says where its parts go"
        return PipelineModel(spec.id, inspect_pipeline(folder), self._device, need.placement, self._arbiter)

    def _load_verified(self, spec: ModelSpec, load: Callable[[], L]) -> L:
        """Load while another thread compares every file with its sha256; damaged weights are never handed out."""
        problems: list[StudioError | OSError] = []

        def verify() -> None:
            try:
                self._store.verify(spec)
            except (StudioError, OSError) as error:
                problems.append(error)

        checking = threading.Thread(target=verify, name=f"verify-{spec.id}", daemon=True)
        checking.start()
        model: L | None = None
        try:
            model = load()
        except BadFileError:
            # Damaged files fail here too; what the hashes say is the better reason.
            checking.join()
            if not problems:
                raise
        checking.join()
        if model is not None and not problems:
            return model
        if model is not None:
            model.close()
        if isinstance(problems[0], StudioError):
            raise problems[0]
        text = f"{spec.name} cannot be read: {problems[0]}."
        raise BadFileError(text, key="error.model_read", name=spec.name, reason=str(problems[0])) from problems[0]


class HostedWords:
    """The encoder for models that work with it: loaded when it is asked, counted and let go of like every model."""

    def __init__(self, host: EncoderHost) -> None:
        self._host = host
        self.width = _ENCODER_WIDTH

    def states(self, texts: Sequence[str], max_tokens: int, *, together: bool = False) -> Tensor:
        """See engine.image.prompts.WordEncoder. Raises NoModelError when the encoder is not installed."""
        with self._host.use_encoder() as encoder:
            return encoder.states(texts, max_tokens, together=together)
