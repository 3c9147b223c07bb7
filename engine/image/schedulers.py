"""Samplers by name, in diffusers' own classes, for models that learned flows and for those that learned noise.

Knows diffusers' schedulers; knows no model.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final

from engine.errors import BadOptionError

_FLOW: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "euler": ("FlowMatchEulerDiscreteScheduler", {}),
    "heun": ("FlowMatchHeunDiscreteScheduler", {}),
    "dpm++": ("DPMSolverMultistepScheduler", {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}),
    "unipc": ("UniPCMultistepScheduler", {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}),
}
_NOISE: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "euler": ("EulerDiscreteScheduler", {}),
    "euler a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpm++": ("DPMSolverMultistepScheduler", {}),
    "dpm++ karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "ddim": ("DDIMScheduler", {}),
    "lcm": ("LCMScheduler", {}),
}

KNOWN: Final = frozenset((*_FLOW, *_NOISE))
"""Every name there is."""


def names(default: Any) -> tuple[str, ...]:
    """Names of the samplers that fit a model whose own scheduler is `default`, the one most like it first."""
    return names_for(type(default).__name__, default.config.get("prediction_type"))


def names_for(kind: str, prediction_type: str | None) -> tuple[str, ...]:
    """The same by the class and the prediction type of its scheduler, as its folder says them."""
    known = _known(kind, prediction_type)
    own = next((name for name, (other, _) in known.items() if other == kind), next(iter(known)))
    return (own, *(name for name in known if name != own))


def scheduler(name: str, default: Any) -> Any:
    """A new scheduler of that name for a model whose own one is `default`. Raises BadOptionError for an unknown name."""
    import diffusers

    known = _known(type(default).__name__, default.config.get("prediction_type"))
    if name not in known:
        listed = ", ".join(names(default))
        text = f'There is no scheduler "{name}" for this model; use one of {listed}.'
        raise BadOptionError(text, key="error.scheduler_unknown", name=name, names=listed)
    kind, changes = known[name]
    made = getattr(diffusers, kind)
    taken = inspect.signature(made.__init__).parameters
    config = dict(default.config)
    # The same number has two names.
    config["shift"] = config["flow_shift"] = config.get("shift", config.get("flow_shift", 1.0))
    return made(**{**{key: value for key, value in config.items() if key in taken}, **changes})


def even_steps(made: Any, steps: int) -> dict[str, list[float]]:
    """What a pipeline is told beside its steps so that all Euler steps along a flow are equally long, but for its shift.

    By itself that scheduler goes to 0.1 % of noise and needs its last step for the rest: of eight steps one is lost.
    """
    if type(made).__name__ != _FLOW["euler"][0]:
        return {}
    return {"sigmas": [1 - step / steps for step in range(steps)]}


def _known(kind: str, prediction_type: str | None) -> Mapping[str, tuple[str, Mapping[str, Any]]]:
    return _FLOW if kind.startswith("FlowMatch") or prediction_type == "flow_prediction" else _NOISE
