"""A LoRA adapter fused as a Llama's layers are, for the forms in torch and in C.

Knows arrays and names; computes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from engine.models.adapters import LoraWeights
from engine.text.llama.config import LlamaConfig, linear_places
from engine.text.llama.native.terms import NativeTerms
from engine.text.lora import does_not_fit
from engine.text.low_rank import LowRank, fuse

if TYPE_CHECKING:
    from engine.text.llama.blocks import Terms

LayerTerms: TypeAlias = tuple[LowRank | None, ...]
"""Of one block's linear layers, in the order of config.LINEARS."""


@dataclass(frozen=True)
class LlamaAdapter:
    """An adapter as this backend computes it; implements engine.text.lora.LoadedAdapter."""

    sha256: str
    terms: tuple[LayerTerms, ...]

    @property
    def size_bytes(self) -> int:
        """Memory of its terms, in half precision too."""
        return sum(term.size_bytes for terms in self.terms for term in terms if term is not None) * 3 // 2

    @cached_property
    def native(self) -> NativeTerms:
        """The terms for the form in C."""
        return NativeTerms([term for terms in self.terms for term in terms])

    @cached_property
    def layers(self) -> tuple[Terms, ...]:
        """The terms for the forms in torch; they share their memory."""
        from engine.text.llama.blocks import Terms
        from engine.text.torch_term import torch_term

        return tuple(Terms(*(None if term is None else torch_term(term) for term in terms)) for terms in self.terms)


def fuse_adapter(weights: LoraWeights, config: LlamaConfig) -> LlamaAdapter:
    """The adapter's terms, fused as the layers are. Raises BadFileError when it is of another model."""
    places = [linear_places(number, config) for number in range(config.layers)]
    known = {name for layer in places for modules, _ in layer for name, _ in modules}
    unknown = sorted(set(weights.modules) - known)
    if unknown:
        raise does_not_fit(f"it has no layer {unknown[0]}")
    return LlamaAdapter(weights.sha256, tuple(tuple(fuse(weights, *place) for place in layer) for layer in places))
