"""Drawing: a prompt becomes rows, then a job fills them with pictures, one after another.

Rows are committed before the model runs, so a prompt is never lost; what cannot work (an unknown style or scheduler, a file
that is no picture, a missing model) is refused before anything is written. Followed and stopped like every job
(engine/services/jobs.py). Knows storage, the runner and the model host; knows no page.
"""

from __future__ import annotations

from pathlib import Path

from engine.safety.labels import Format
from engine.services.image_records import Batch, FoundSettings, ImageChoices, ImagineStarted, PictureFile
from engine.types import ImagineRequest


class ImageService:
    """Draw, vary, enlarge, skip, go on, reproduce; read settings back; hand pictures over."""

    def imagine(self, owner_id: str, request: ImagineRequest) -> ImagineStarted:
        """Commit a job and its n Creations, queue the job, return at once. Any number may wait while one runs.

        With options.init_image or request.picture it starts from a picture, with request.mask it makes part of it anew. With
        a picture, options.upscale above 1 and an empty prompt it only enlarges that Creation (see `upscale`).
        The same idempotency key returns the same ImagineStarted. Raises BadOptionError (also for an unknown style, scheduler or
        size of that model, an empty prompt, an adapter or rank_by), NotFoundError, TooLongError, BadFileError, NoModelError or
        BusyError, each before anything is written; whatever fails later is in the job and the rows.
        """
        raise NotImplementedError

    def vary(self, owner_id: str, creation_id: str, n: int = 4, *, idempotency_key: str | None = None) -> ImagineStarted:
        """Draw the Creation's prompt again with its settings and new seeds, as versions. Raises what `imagine` raises."""
        raise NotImplementedError

    def upscale(self, owner_id: str, creation_id: str, factor: int = 2, *, idempotency_key: str | None = None) -> ImagineStarted:
        """Enlarge a finished picture 2 or 4 times, as a version of it (one Creation). Raises what `imagine` raises."""
        raise NotImplementedError

    def skip(self, owner_id: str, job_id: str, creation_id: str | None = None) -> bool:
        """Leave out the picture that is being drawn (or that one, also while it waits) and go on with the next.

        Returns False when there is nothing to skip any more. Its Creation ends as cancelled with finish_reason "skipped".
        Stop is JobsService.cancel: it ends the whole job; pictures that are finished stay.
        """
        raise NotImplementedError

    def resume(self, owner_id: str, job_id: str) -> ImagineStarted:
        """Queue an interrupted, stopped or failed job again: it draws the pictures that are missing, with their seeds.

        Raises NotFoundError, BadOptionError when nothing is missing, BusyError while it runs, NoModelError.
        """
        raise NotImplementedError

    def reproduce(self, owner_id: str, creation_id: str) -> str:
        """Draw the Creation again from what its row records and compare every pixel; returns the job's id.

        The job's data has a `preview` while it runs; its result is {"creation_id", "identical"}. No Creation is made.
        Raises BadOptionError for what has no recorded settings (imported, enlarged), BusyError, NoModelError.
        """
        raise NotImplementedError

    def expand(self, owner_id: str, prompt: str, *, idempotency_key: str | None = None) -> str:
        """Let the default text model add detail to a prompt; returns the job's id.

        The job's data is {"text"} while it grows; its result {"prompt", "expanded"}. Raises BadOptionError for an empty prompt,
        NoModelError when the text model is missing or does not write the prompt's language.
        """
        raise NotImplementedError

    def read_settings(self, owner_id: str, data: bytes) -> FoundSettings:
        """Read how a picture was made from a file of ours, or of another tool with the common `parameters` text.

        Raises BadFileError for what is no picture and for one without settings, TooLongError for one beyond the limits.
        """
        raise NotImplementedError

    def choices(self, owner_id: str) -> ImageChoices:
        """Models with their styles, schedulers, presets, sizes and defaults, and the limits. Loads nothing."""
        raise NotImplementedError

    def recent(self, owner_id: str, rater_id: str, *, limit: int = 20, before_job_id: str | None = None) -> tuple[Batch, ...]:
        """The newest clicks with their pictures, newest first; with a job's id those before it. Empty ones are left out."""
        raise NotImplementedError

    def batch(self, owner_id: str, rater_id: str, job_id: str) -> Batch:
        """One click with its pictures. Raises NotFoundError."""
        raise NotImplementedError

    def export(self, owner_id: str, creation_id: str, *, format: Format = "png", visible: bool = False) -> PictureFile:
        """The picture as png, webp or jpeg with its labels, with "AI生成" written on it when `visible`.

        Raises NotFoundError for a Creation without a picture, BadOptionError for another format.
        """
        raise NotImplementedError

    def thumbnail(self, owner_id: str, creation_id: str) -> Path:
        """A small WebP (256 pixels on the longer side) with the same labels, made when first asked for. Raises NotFoundError."""
        raise NotImplementedError
