"""Which sentences the others are about: LexRank on a graph of similar sentences.

Erkan and Radev, "LexRank: Graph-based Lexical Centrality as Salience in Text Summarization", JAIR 22 (2004). Knows matrices.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Vector: TypeAlias = npt.NDArray[np.float32]
Matrix: TypeAlias = npt.NDArray[np.float32]

DAMPING: Final = 0.85
STEPS: Final = 60


def lexrank(similarity: Matrix, floor: float, start: Vector | None = None) -> Vector:
    """Centrality of each row, [n], mean 1, of a symmetric [n, n] similarity; what is below `floor` is no link.

    `start` [n] ≥ 0 is where a reader who jumps lands (uniform without it): with a question's similarity it is the biased
    LexRank of Otterbacher et al. (2009).
    """
    count = len(similarity)
    if count == 0:
        return np.zeros(0, np.float32)
    jump = np.full(count, 1 / count, np.float32)
    if start is not None and float(start.sum()) > 0:
        jump = np.asarray(start / start.sum(), np.float32)
    links = np.where(similarity >= floor, np.maximum(similarity, 0), 0).astype(np.float32)
    np.fill_diagonal(links, 0)
    totals = links.sum(axis=1, keepdims=True)
    moves = np.divide(links, totals, out=np.zeros_like(links), where=totals > 0)
    alone = totals[:, 0] == 0
    rank = jump.copy()
    for _ in range(STEPS):
        lost = float(rank[alone].sum())
        new = DAMPING * (rank @ moves) + (1 - DAMPING + DAMPING * lost) * jump
        change = float(np.abs(new - rank).sum())
        rank = np.asarray(new, np.float32)
        if change < 1e-5:
            break
    return np.asarray(rank * count, np.float32)
