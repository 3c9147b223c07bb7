"""The second stage: the Chinese encoder learns to say in vectors what MiniLM says of the same caption in English.

It reads the names of all concepts, also of those whose pictures nobody may learn from: a word is no picture.
Loss: cosine distance, and which of the batch's English captions is meant (van den Oord et al. 2018, arXiv:1807.03748).
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import nn

from engine.image.chinese import ChineseEncoder
from engine.image.prompts import MAX_TOKENS, WordEncoder, sentence_vectors
from engine.image.weights import load_part
from engine.training.recipes.stickers.data import Sticker, Stickers, captions
from engine.training.recipes.stickers.work import Work, rate_at

NAME: Final = "chinese"
BATCH: Final = 192
RATE: Final = 1e-3
TEMPERATURE: Final = 0.05
ROUGH: Final = 0.15
"""Share of the captions in which one character is hidden, so that an unknown one does no harm."""


def train(data: Stickers, english: WordEncoder, work: Work, steps: int, seed: int = 0) -> ChineseEncoder:
    """Train for `steps` batches and keep it in the work folder; a finished one is read from there."""
    if work.path(NAME).is_dir():
        known: ChineseEncoder = load_part(ChineseEncoder, work.path(NAME))
        return known
    torch.manual_seed(seed)
    pairs = sorted({pair for item in data.items for pair in _pairs(data, item)})
    model: ChineseEncoder = ChineseEncoder(data.characters(), width=english.width)
    model.to(work.device)
    rows = model.rows([chinese for chinese, _ in pairs]).to(work.device)
    unique = sorted({text for _, text in pairs})
    place = {text: number for number, text in enumerate(unique)}
    meant = torch.tensor([place[text] for _, text in pairs], device=work.device)
    work.log(NAME, pairs=len(pairs), english=len(unique))
    vectors = sentence_vectors(english.states(unique, MAX_TOKENS, together=True)).to(work.device)
    number = torch.arange(BATCH, device=work.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step / steps, RATE)
        chosen = torch.randint(len(pairs), (BATCH,), device=work.device)
        with work.autocast():
            states, _ = model(_roughened(rows[chosen]))
        said, wanted = sentence_vectors(states.float()), vectors[meant[chosen]]
        scores = said @ wanted.T / TEMPERATURE
        same = meant[chosen][:, None] == meant[chosen][None]
        scores = scores.masked_fill(same & (number[:, None] != number), -1e4)
        loss = (1 - (said * wanted).sum(1)).mean() + 0.2 * F.cross_entropy(scores, number)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0 or step == steps - 1:
            work.log(NAME, step=step, of=steps, cosine=round(float((said * wanted).sum(1).mean().detach()), 4))
    model.to("cpu").eval()
    work.whole(NAME, model.save_pretrained)
    return model


def _pairs(data: Stickers, item: Sticker) -> list[tuple[str, str]]:
    """The captions that say the same in both languages: name, style, colours come first in both lists."""
    alike = 2 + 2 * bool(item.colours)
    return list(zip(captions(data, item, "zh")[:alike], captions(data, item, "en")[:alike], strict=False))


def _roughened(rows: torch.Tensor) -> torch.Tensor:
    from engine.image.chinese import PAD, UNKNOWN

    made = rows.clone()
    length = (rows != PAD).sum(1)
    chances = torch.rand(2, len(rows), device=rows.device)
    hidden = (chances[0] < ROUGH) & (length > 2)
    places = (chances[1] * length).long()
    made[hidden, places[hidden]] = UNKNOWN
    return made
