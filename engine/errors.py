"""Every error the studio raises on purpose.

    StudioError                 code          what the caller can do
    ├── BadOptionError          bad_option    correct the named option
    ├── NotFoundError           not_found     use an id that exists and is yours (missing and forbidden look alike)
    ├── TooLongError            too_long      shorten, or raise the limit
    ├── NoModelError            no_model      get a model, or wait for its download
    │   └── NoMemoryError       no_model      close other programs, or use a smaller model
    ├── NotEnoughDataError      not_enough_data   rate more
    ├── GateError               gate          read the reasons, or override with one
    ├── BusyError               busy          try again; the input is kept
    ├── CancelledError          cancelled     nothing: somebody asked for it
    ├── BadFileError            bad_file      use another file
    ├── PoisonError             poison        change what it works with: its process died twice at the same place
    └── RefusedStartError       refused_start do what the sentence says (exit code 2)

A message is one plain English sentence, or two: what happened, what is kept, what to do. `message_key` and `values`
name the same sentence in assets/i18n, so that a page can say it in its own language; the API always says the English one.
Knows no gradio, torch or SQLAlchemy.
"""

from __future__ import annotations

from typing import ClassVar


class StudioError(Exception):
    """Base of the tree. `str(error)` is the English sentence without the code."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, key: str = "", **values: object) -> None:
        super().__init__(message)
        self.message = message
        self.message_key = key
        self.values = values


class BadOptionError(StudioError):
    code = "bad_option"


class NotFoundError(StudioError):
    code = "not_found"


class TooLongError(StudioError):
    code = "too_long"


class NoModelError(StudioError):
    code = "no_model"


class NoMemoryError(NoModelError):
    """Memory does not suffice. `passes`: it would, once what this studio works at now has ended."""

    def __init__(
        self, message: str, *, needs_bytes: int, have_bytes: int, passes: bool = False, key: str = "", **values: object
    ) -> None:
        super().__init__(message, key=key, **values)
        self.needs_bytes = needs_bytes
        self.have_bytes = have_bytes
        self.passes = passes


class NotEnoughDataError(StudioError):
    code = "not_enough_data"


class GateError(StudioError):
    code = "gate"


class BusyError(StudioError):
    code = "busy"


class CancelledError(StudioError):
    code = "cancelled"


class BadFileError(StudioError):
    code = "bad_file"


class PoisonError(StudioError):
    code = "poison"


class RefusedStartError(StudioError):
    code = "refused_start"
