"""How fast the writing model is on this machine, measured when the user asks for it.

Knows the host and the defaults; knows no page and keeps nothing.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from engine.errors import BusyError, StudioError
from engine.jobs.job import CancelToken
from engine.services.writing import TextHost
from engine.text.model import GenerateRequest, Message, Sampling, TextModel
from storage.records import LOCAL_OWNER

PROMPT_WORDS: Final = 300
NEW_TOKENS: Final = 64
FEWEST: Final = 8
"""Tokens that a speed can be told from."""
_WORDS: Final = (
    "harbour lantern winter ledger keeper window garden letter bridge morning copper silence orchard traveller market".split()
)


@dataclass(frozen=True, slots=True)
class Speed:
    """What one answer to a prompt of some length took."""

    model_id: str
    prompt_tokens: int
    first_token_s: float
    """From the question to the first token: the whole prompt is read in it."""
    read_tokens_per_s: float
    write_tokens_per_s: float
    form: str
    """The arithmetic of the answer, as its path says: "float32", "int4", "int4, native", "bfloat16", …; "" for servers."""


class SpeedService:
    """Measures one at a time. Thread-safe."""

    def __init__(self, host: TextHost, default: Callable[[str, str], str]) -> None:
        """`default(task, owner_id)`: the id of the model that a task uses."""
        self._host = host
        self._default = default
        self._lock = threading.Lock()

    def measure(self, owner_id: str = LOCAL_OWNER) -> Speed:
        """Let the model that writes answer once; blocks for some seconds.

        Raises BusyError while another measurement runs, StudioError when the model said too little, and what the host raises.
        """
        if not self._lock.acquire(blocking=False):
            raise BusyError("The speed is being measured already.", key="error.speed_busy")
        try:
            model_id = self._default("text", owner_id)
            with self._host.use(model_id) as model:
                return _measure(model_id, model)
        finally:
            self._lock.release()


def _measure(model_id: str, model: TextModel) -> Speed:
    # New words each time: nothing of the prompt may be known from the last measurement.
    draw = random.Random(time.time_ns())
    words = " ".join(draw.choices(_WORDS, k=PROMPT_WORDS))
    ask = Message("user", f"Write a long story, in whole sentences, in which these words occur: {words}.")
    request = GenerateRequest((ask,), Sampling(max_new_tokens=NEW_TOKENS), (draw.randrange(2**31),))
    started = time.monotonic()
    *_, last = model.generate(request, CancelToken())
    whole_s, first_s = time.monotonic() - started, last.ttft_s
    if first_s is None or last.tokens < FEWEST:
        raise StudioError("The model said too little to measure. Try again.", key="error.speed_short")
    return Speed(
        model_id,
        last.prompt_tokens,
        first_s,
        last.prompt_tokens / max(first_s, 1e-6),
        (last.tokens - 1) / max(whole_s - first_s, 1e-6),
        str((last.path or {}).get("dtype", "")),
    )
