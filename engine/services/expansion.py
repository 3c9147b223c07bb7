"""Prompts for pictures, made richer by the text model: a job that writes one line. Undoing it is the page's.

Knows the text host and the wording that it is asked with; knows no picture, no row and no page.
"""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from engine.jobs.runner import JobContext
from engine.language import language_of
from engine.services.draft import storable
from engine.services.writing import TextHost
from engine.text.model import GenerateRequest, Message, Sampling
from storage.records import Json

MAX_NEW_TOKENS: Final = 48
MAX_PHRASES: Final = 5
MAX_PHRASE_CHARS: Final = 40
_SHORT: Final = 2
"""Words of a phrase that adds nothing when one of them was said before."""
_SAMPLING: Final = Sampling(
    temperature=0.5, top_p=0.9, top_k=40, repetition_penalty=1.1, max_new_tokens=MAX_NEW_TOKENS, stop=("\n",)
)
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
    """The user's own words first, then what the model added to them: few phrases, each of which says something new."""
    line = re.sub(r"\s+", " ", written).strip().strip("\"'“”「」").strip()
    own = prompt.strip().rstrip(" ,，.。")
    if line.lower().startswith(own.lower()):
        line = line[len(own) :]
    is_chinese = language_of(own) == "zh"
    seen, added = _words(own), list[str]()
    for phrase in re.split(r"[,，.。;；:：]+", line):
        words = _words(phrase)
        # A small model goes round in circles: "bright smile, sweet smile, sunny smile".
        repeats = not words or not words - seen or (len(words) <= _SHORT and not is_chinese and bool(words & seen))
        if not repeats and len(phrase) <= MAX_PHRASE_CHARS:
            seen |= words
            added.append(phrase.strip(" -\"'"))
    return ("，" if is_chinese else ", ").join([own, *added[:MAX_PHRASES]])


def _words(text: str) -> set[str]:
    """What of a text is compared: words of three letters and more, and Chinese characters two by two."""
    found = {word for word in re.findall(r"[^\W\d_]+", text.lower()) if len(word) > 2 and word.isascii()}
    for run in re.findall(r"[\u3400-\u9fff]+", text):
        found.update(run[at : at + 2] for at in range(max(1, len(run) - 1)))
    return found
