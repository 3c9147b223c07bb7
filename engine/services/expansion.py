"""Prompts for pictures, made richer by the text model: a job that writes one line. Undoing it is the page's.

Knows the text host and the wording that it is asked with; knows no picture, no row and no page.
"""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from engine.jobs.runner import JobContext
from engine.services.draft import storable
from engine.services.notices import language_of
from engine.services.writing import TextHost
from engine.text.model import GenerateRequest, Message, Sampling
from storage.records import Json

MAX_NEW_TOKENS: Final = 60
MAX_ADDED_CHARS: Final = 300
_SAMPLING: Final = Sampling(temperature=0.7, top_p=0.9, top_k=40, max_new_tokens=MAX_NEW_TOKENS, stop=("\n",))
_SYSTEM: Final = {
    "en": "You describe pictures. Repeat the idea, then add material, colours, light and mood. Answer with one short line.",
    "zh": "你负责描述画面。先重复原来的想法，再补充材质、颜色、光线和气氛。只回答一行短句。",
}
_EXAMPLES: Final = {
    "en": (
        ("a fox", "a fox, soft orange fur, curled up in autumn leaves, warm evening light, calm mood"),
        ("city street", "city street, wet asphalt with neon reflections, small figures with umbrellas, blue night, quiet mood"),
        ("cup of coffee", "cup of coffee, white porcelain, curls of steam, wooden table, morning light from the left, cosy mood"),
    ),
    "zh": (
        ("一只狐狸", "一只狐狸，柔软的橙色皮毛，蜷在秋天的落叶里，温暖的夕阳，安静的气氛"),
        ("城市街道", "城市街道，湿润的路面映着霓虹灯，撑伞的小人影，蓝色的夜晚，宁静的气氛"),
    ),
}


@dataclass(frozen=True, slots=True)
class ExpandJob:
    """Writes the richer prompt."""

    prompt: str
    model_id: str
    host: TextHost

    def data(self, text: str = "") -> dict[str, Any]:
        """What followers see."""
        return {"text": text}

    def body(self, context: JobContext) -> Json:
        """Returns {"prompt", "expanded"}; when the model has nothing to add, "expanded" is the prompt."""
        language = "zh" if language_of(self.prompt) == "zh" else "en"
        messages = [Message("system", _SYSTEM[language])]
        for idea, picture in _EXAMPLES[language]:
            messages += [Message("user", idea), Message("assistant", picture)]
        messages.append(Message("user", self.prompt))
        context.progress(0, 1, phase="loading")
        written = ""
        with self.host.use(self.model_id) as model:
            context.progress(0, 1, phase="writing")
            request = GenerateRequest(tuple(messages), _SAMPLING, (0,))
            with closing(model.generate(request, context.cancel)) as events:  # type: ignore[type-var]
                for event in events:
                    written += storable(event.delta)
                    context.publish(self.data(joined(self.prompt, written)))
        context.cancel.check()
        return {"prompt": self.prompt, "expanded": joined(self.prompt, written)}


def joined(prompt: str, written: str) -> str:
    """The user's own words first, then what the model added to them, on one line and not without end."""
    line = re.sub(r"\s+", " ", written).strip().strip("\"'“”「」").strip()
    own = prompt.strip()
    if line.lower().startswith(own.lower()):
        line = line[len(own) :]
    line = line.lstrip(" ,，.。:：-").rstrip(" ,，")
    if len(line) > MAX_ADDED_CHARS:
        line = re.split(r"[,，.。]", line[:MAX_ADDED_CHARS][::-1], maxsplit=1)[-1][::-1].rstrip()
    if not line:
        return own
    comma = "，" if language_of(own) == "zh" else ", "
    return f"{own.rstrip(' ,，.。')}{comma}{line}"
