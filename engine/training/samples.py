"""Sample answers of the model in training, on fixed prompts and seeds, and how surprising a text is to it.

All samples are written together, a row each. Knows torch and transformers' models; knows no data and no limit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from engine.evaluation.metrics import NO_SPACES, odd_share, repetition, script
from engine.text.chat import ChatFormat
from engine.text.model import Message, Sampling
from engine.text.sampling import Sampler
from engine.training.guards import Fluency

NEUTRAL: Final = Path(__file__).resolve().parent.parent.parent / "assets" / "neutral.json"
_MAX_NEUTRAL_TOKENS: Final = 256


@dataclass(frozen=True, slots=True)
class SamplePrompt:
    """One prompt that is answered at intervals, always with the same seed."""

    messages: tuple[Message, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class Answer:
    """One sample answer."""

    text: str
    ids: tuple[int, ...]


class Speaker:
    """Lets the model in training write and judge. `check` is called before each piece of work and may raise to stop."""

    def __init__(self, model: Any, chat: ChatFormat, check: Callable[[], None]) -> None:
        self.model = model
        self._chat = chat
        self._check = check

    def answers(self, prompts: Sequence[SamplePrompt], max_tokens: int) -> list[Answer]:
        """Write an answer to each prompt, at most `max_tokens` long."""
        if not prompts:
            return []
        contexts = [self._chat.encode(prompt.messages) for prompt in prompts]
        samplers = [
            Sampler(Sampling(max_new_tokens=max_tokens), prompt.seed, ids) for prompt, ids in zip(prompts, contexts, strict=True)
        ]
        with torch.no_grad(), _evaluating(self.model):
            rows = self._write(contexts, samplers, max_tokens)
        return [Answer(self._chat.tokenizer.decode(ids), tuple(ids)) for ids in rows]

    def _write(self, contexts: list[list[int]], samplers: list[Sampler], max_tokens: int) -> list[list[int]]:
        device = self.model.get_output_embeddings().weight.device
        width = max(map(len, contexts))
        ids = torch.tensor([[0] * (width - len(row)) + row for row in contexts], device=device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in contexts], device=device)
        written: list[list[int]] = [[] for _ in contexts]
        ended = [False] * len(contexts)
        cache = None
        for _ in range(max_tokens):
            self._check()
            positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            outputs = self.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                cache=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = outputs.past_key_values
            logits = outputs.logits[:, -1].float().cpu().numpy()
            chosen = [sampler.choose(row) for sampler, row in zip(samplers, logits, strict=True)]
            for row, token in enumerate(chosen):
                ended[row] = ended[row] or token in self._chat.stop_ids
                if not ended[row]:
                    written[row].append(token)
            if all(ended):
                break
            ids = torch.tensor(chosen, device=device)[:, None]
            mask = torch.cat([mask, mask.new_ones((len(chosen), 1))], dim=1)
        return written

    def surprise(self, context_ids: Sequence[int], ids: Sequence[int], *, base: bool = False) -> tuple[float, int]:
        """Return the summed negative log-probability (nats) of `ids` after `context_ids`, and how many tokens that counts.

        With an empty context the first token only begins the text. `base`: without what was trained.
        """
        tokens = torch.tensor([[*context_ids, *ids]], device=self.model.get_output_embeddings().weight.device)
        labels = tokens.clone()
        labels[:, : len(context_ids)] = -100
        count = len(ids) if context_ids else len(ids) - 1
        if count < 1:
            return 0.0, 0
        self._check()
        with torch.no_grad(), _evaluating(self.model), self.model.disable_adapter() if base else nullcontext():
            outputs = self.model(input_ids=tokens, attention_mask=torch.ones_like(tokens), labels=labels, fused_lm_head=True)
        return float(-outputs.log_probs.sum()), count


class FluencyProbe:
    """Measures `Fluency`: the same neutral texts and the same prompts each time."""

    def __init__(self, speaker: Speaker, chat: ChatFormat, prompts: Sequence[SamplePrompt], texts: Sequence[str]) -> None:
        """`texts`: what the model learns from; their language chooses the neutral texts, their scripts are at home."""
        self._speaker = speaker
        self._chat = chat
        self._prompts = prompts
        self._texts = tuple(texts)
        neutral = neutral_texts(texts)
        self._neutral = [chat.tokenizer.encode(text, add_special_tokens=False).ids[:_MAX_NEUTRAL_TOKENS] for text in neutral]

    def measure(self, answers: Sequence[Answer] = ()) -> Fluency:
        """Return the figures as the model is now; `answers` are its sample answers, in the order of the prompts."""
        perplexity = _perplexity([self._speaker.surprise((), ids) for ids in self._neutral])
        if not answers:
            return Fluency(perplexity or math.inf)
        contexts = [self._chat.encode(prompt.messages) for prompt in self._prompts]
        judged = [self._speaker.surprise(context, a.ids, base=True) for context, a in zip(contexts, answers, strict=True)]
        prompts = [message.content for prompt in self._prompts for message in prompt.messages]
        count = len(answers)
        return Fluency(
            perplexity or math.inf,
            answer_perplexity=_perplexity(judged),
            odd_share=odd_share("".join(answer.text for answer in answers), *self._texts, *prompts),
            repetition=sum(repetition(answer.text) for answer in answers) / count,
            answer_tokens=sum(len(answer.ids) for answer in answers) / count,
        )


def neutral_texts(texts: Sequence[str], path: Path = NEUTRAL) -> list[str]:
    """Neutral texts in the language that `texts` are mostly in, as far as their script tells: Chinese, or else English."""
    neutral: Mapping[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
    letters = [script(character) for text in texts for character in text[:500]]
    unspaced = sum(name in NO_SPACES for name in letters)
    return neutral["zh" if unspaced > sum(map(bool, letters)) / 2 else "en"]


def _perplexity(judged: Sequence[tuple[float, int]]) -> float | None:
    tokens = sum(count for _, count in judged)
    return math.exp(min(700.0, sum(surprise for surprise, _ in judged) / tokens)) if tokens else None


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Without dropout, and back to how it was."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
