"""One token for several rows on tensors that never move, so that the pass can be recorded once and played again.

On a GPU a pass of one token is hundreds of operations, each of which takes longer to start than to compute. A CUDA graph starts
them all at once, always on the same memory and in the same shapes (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).
So rows that write sit at a desk: keys and values of so many seats with so many places each, whoever sits there. A row's length
alone says at which desk, and the shapes are the same however many seats are taken, so that a row's bits are those it would have
alone. Knows tensors and rows' caches; knows no model, no tokens' meaning and no scheduler.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final, Protocol, TypeAlias

import torch
from transformers.cache_utils import Cache, DynamicLayer

from engine.device import Device
from engine.text.kv import GrowingLayer, Room

LEAST_PLACES: Final = 1024
"""Of a seat at the smallest desk; each next one has twice as many."""
DESK_TOKENS: Final = 8192
"""Places of all seats of a desk together, unless a single seat has more."""
_SPARE: Final = 1.5
"""Times a desk's own bytes that must be free to make one: recording it takes memory too."""
_RECORDED: Final = 4
"""Adapters whose passes a desk keeps recorded."""
_RECORDING: Final = threading.Lock()
"""torch records one pass at a time: it waits for the device before, which fails while another thread's recording is under way."""

Replay: TypeAlias = Callable[[], torch.Tensor]
Recorder: TypeAlias = Callable[[Replay], Replay]
"""Computes something and returns what computes it again: on the same tensors, into the same result."""


class Compute(Protocol):
    """A model's pass of one token for each seat: logits [seats, vocabulary]."""

    def __call__(
        self, ids: torch.Tensor, positions: torch.Tensor, shown: torch.Tensor, cache: Cache, adapter: Any
    ) -> torch.Tensor:
        """ids and positions [seats, 1]; shown [seats, 1, 1, places]: what each may look at."""


class SeatedRow(Protocol):
    """What a row's cache must be to sit here."""

    desk: Desk | None
    """Where it sits; None = nowhere."""
    pending: int
    """Tokens that are at the desk only."""
    layers: tuple[GrowingLayer, ...]

    @property
    def adapter(self) -> Any: ...

    @property
    def length(self) -> int: ...


def recorder(device: Device) -> Recorder | None:
    """How passes are recorded on this device; None where that brings nothing."""
    return cuda_graph if device.kind == "cuda" else None


def cuda_graph(compute: Replay) -> Replay:
    """Record a CUDA graph. Raises RuntimeError when the computation waits for the processor, which a graph cannot."""
    # A recording that fails leaves its stream behind as this thread's own, if nobody puts that right.
    with _RECORDING, torch.cuda.stream(torch.cuda.current_stream()):
        aside = _aside(torch.cuda.current_device())
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # what libraries set up at first use must not be recorded
            for _ in range(3):
                compute()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Other threads may draw pictures meanwhile; what they allocate is no error here.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            result = compute()

    def replay() -> torch.Tensor:
        graph.replay()
        return result

    return replay


@cache
def _aside(device: int) -> torch.cuda.Stream:
    """Always the same: libraries keep memory for each stream that they have computed on."""
    stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return stream


class _DeskLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values [seats, heads, places, width] behind transformers' cache interface. The last place is nobody's."""

    def __init__(self, like: GrowingLayer, seats: int, places: int, at: tuple[torch.Tensor, torch.Tensor]) -> None:
        super().__init__()
        self.at = at
        room = _room(like)
        # Zeros: what is hidden is multiplied by nothing, and must be a number for that.
        self.keys, self.values = (
            part.new_zeros((seats, part.shape[1], places, part.shape[3])) for part in (room.keys, room.values)
        )
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Put [seats, heads, 1, width] each at their places; return all."""
        seats, places = self.at
        self.keys[seats, :, places] = key_states[:, :, 0]
        self.values[seats, :, places] = value_states[:, :, 0]
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Places."""
        return int(self.keys.shape[2])


class Desk:
    """Seats of so many places: for rows with two tokens less, the one that is computed and the last place not counted."""

    def __init__(self, like: Sequence[GrowingLayer], places: int, compute: Compute, record: Recorder) -> None:
        """`like`: a row's layers, as whose heads and numbers these are."""
        self._idle = places - 1
        """The place of seats that nobody sits on."""
        self.seats = seats_of(places)
        self._rows: list[weakref.ref[Any] | None] = [None] * self.seats
        device = _room(like[0]).keys.device
        self._inputs = torch.zeros((self.seats, 3), dtype=torch.long, device=device)
        """Of each seat: token, its position, the place that it is put at."""
        self._inputs[:, 2] = self._idle
        at = (torch.arange(self.seats, device=device), self._inputs[:, 2])
        self._layers = [_DeskLayer(layer, self.seats, places, at) for layer in like]
        self._numbers = torch.arange(places, device=device)
        self._compute, self._record = compute, record
        self._replays: dict[int, tuple[Replay, Any]] = {}
        """By the adapter's identity, with the adapter itself: a graph reads the memory of its terms."""

    @property
    def size_bytes(self) -> int:
        """Memory of keys and values."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self._layers)

    def step(self, rows: Sequence[SeatedRow], tokens: Sequence[int]) -> torch.Tensor:
        """Append one token to each of at most `seats` rows, all with one adapter; logits [rows, vocabulary]."""
        seats = self._seat(rows)
        inputs = [[0, 0, self._idle] for _ in range(self.seats)]
        for seat, row, token in zip(seats, rows, tokens, strict=True):
            inputs[seat] = [token, row.length, row.length]
        self._inputs.copy_(torch.tensor(inputs))
        logits = self._replay(rows[0].adapter)()[seats]
        for row in rows:
            row.pending += 1
        return logits

    def leave(self, row: SeatedRow) -> None:
        """Give the row what it wrote here, and its seat to others."""
        seat = self._seat_of(row)
        assert seat is not None, "only a row that sits here can leave"
        start, end = row.length - row.pending, row.length
        if row.pending:
            for own, layer in zip(row.layers, self._layers, strict=True):
                own.append(layer.keys[seat : seat + 1, :, start:end], layer.values[seat : seat + 1, :, start:end])
        row.pending, row.desk, self._rows[seat] = 0, None, None

    def _seat(self, rows: Sequence[SeatedRow]) -> list[int]:
        """The seats of the rows; those who have none take free ones, or those of rows that are not among them."""
        taken = {seat: row for row in rows if (seat := self._seat_of(row)) is not None}
        others = [seat for seat in range(self.seats) if seat not in taken]
        others.sort(key=lambda seat: self._sitting(seat) is not None)
        for row in rows:
            if row.desk is self:
                continue
            if row.desk is not None:
                row.desk.leave(row)
            seat = others.pop(0)
            before = self._sitting(seat)
            if before is not None:
                self.leave(before)
            for own, layer in zip(row.layers, self._layers, strict=True):
                room = _room(own)
                layer.keys[seat, :, : own.length] = room.keys[0, :, : own.length]
                layer.values[seat, :, : own.length] = room.values[0, :, : own.length]
            self._rows[seat], row.desk = weakref.ref(row), self
        return [seat for row in rows if (seat := self._seat_of(row)) is not None]

    def _sitting(self, seat: int) -> Any:
        """The row on a seat; None when it is free or the row is gone."""
        reference = self._rows[seat]
        return None if reference is None else reference()

    def _seat_of(self, row: SeatedRow) -> int | None:
        return next((seat for seat in range(self.seats) if self._sitting(seat) is row), None)

    def _replay(self, adapter: Any) -> Replay:
        if id(adapter) not in self._replays:
            cache = Cache(layers=self._layers)

            def compute() -> torch.Tensor:
                token, position, place = self._inputs[:, :1], self._inputs[:, 1:2], self._inputs[:, 2:]
                shown = self._numbers <= place
                return self._compute(token, position, shown[:, None, None], cache, adapter)

            before = self._inputs.clone()
            self._inputs[:, 1], self._inputs[:, 2] = 0, self._idle  # recording computes, and must not touch a row
            while len(self._replays) >= _RECORDED:
                del self._replays[next(iter(self._replays))]
            self._replays[id(adapter)] = (self._record(compute), adapter)
            self._inputs.copy_(before)
        return self._replays[id(adapter)][0]


class Desks:
    """All desks of a model, made when rows of their lengths come."""

    def __init__(self, compute: Compute, record: Recorder, free_bytes: Callable[[], int]) -> None:
        self._compute, self._record, self._free_bytes = compute, record, free_bytes
        self._desks: dict[int, Desk] = {}

    @property
    def size_bytes(self) -> int:
        """Memory of all desks."""
        return sum(desk.size_bytes for desk in self._desks.values())

    def desk(self, row: SeatedRow) -> Desk | None:
        """Where the row's next token is computed; None for a row that is empty, or when memory is short."""
        if row.length == 0:
            return None
        places = LEAST_PLACES
        while places < row.length + 2:
            places *= 2
        desk = self._desks.get(places)
        if desk is None and self._free_bytes() >= _SPARE * self._bytes(row, places):
            desk = self._desks[places] = Desk(row.layers, places, self._compute, self._record)
        return desk

    def _bytes(self, row: SeatedRow, places: int) -> int:
        rooms = [_room(layer) for layer in row.layers]
        one: int = sum((room.keys.nbytes + room.values.nbytes) // room.capacity for room in rooms)
        return one * places * seats_of(places)


def _room(layer: GrowingLayer) -> Room:
    assert layer.room is not None, "an empty row has nothing to sit down with"
    return layer.room


def seats_of(places: int) -> int:
    """How many rows of so many tokens a desk has place for."""
    return max(1, DESK_TOKENS // places)
