"""Drawing: a prompt becomes rows, then a job fills them with pictures, one after another.

Rows are committed before the model runs, so a prompt is never lost; what cannot work (an unknown style or scheduler, a file
that is no picture, a missing model) is refused before anything is written. Followed and stopped like every job
(engine/services/jobs.py). Knows storage, the runner and the model host; knows no page.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.errors import BadFileError, BadOptionError, BusyError, NoModelError
from engine.image.drawing import drawing_of
from engine.jobs.job import FINAL, can_resume
from engine.jobs.runner import JobRunner
from engine.models.catalog import ModelSpec
from engine.models.pipeline_folder import STICKER_FAMILY
from engine.safety.labels import Format, read_labels
from engine.safety.limits import IMAGE_PROMPT_MAX_CHARS, clean_text
from engine.services.click import clean_key, seed_or_drawn
from engine.services.edge import storage_errors
from engine.services.expansion import ExpandJob
from engine.services.image_catalog import ImageCatalog
from engine.services.image_choices import check_final_side, resolved
from engine.services.image_files import PictureFiles
from engine.services.image_inputs import Input, creation_input, inputs_of, kept_picture
from engine.services.image_parts import ImageParts
from engine.services.image_records import (
    IMAGE_KINDS,
    Batch,
    FoundSettings,
    ImageChoices,
    ImagineStarted,
    PictureFile,
)
from engine.services.image_rows import add_rows, batch_of, image_creation, options_again, was_drawn
from engine.services.image_settings import settings_from
from engine.services.imaging import ImagineJob, Plan, RedrawJob, UpscaleJob, recorded_words
from engine.services.notices import language_notice
from engine.services.writing import TextHost
from engine.types import UPSCALE_FACTORS, ImagineOptions, ImagineRequest
from storage.records import BASE, CreationRecord, JobRecord


class ImageService:
    """Draw, vary, enlarge, skip, go on, reproduce; read settings back; hand pictures over."""

    def __init__(
        self, runner: JobRunner, catalog: ImageCatalog, pictures: PictureFiles, text_host: TextHost, parts: ImageParts
    ) -> None:
        self._runner = runner
        self._catalog = catalog
        self._pictures = pictures
        self._text_host = text_host
        self._parts = parts
        self._database = parts.database
        self._alive: dict[str, ImagineJob | UpscaleJob] = {}

    @storage_errors()
    def imagine(self, owner_id: str, request: ImagineRequest) -> ImagineStarted:
        """Commit a job and its n Creations, queue the job, return at once. Any number may wait while one runs.

        With options.init_image or request.picture it starts from a picture, with request.mask it makes part of it anew. With
        options.init_image, options.upscale above 1 and no prompt it only enlarges that Creation (see `upscale`).
        The same idempotency key returns the same ImagineStarted. Raises BadOptionError (also for an unknown style, scheduler or
        size of that model, an empty prompt, an adapter or rank_by), NotFoundError, TooLongError, BadFileError, NoModelError or
        BusyError, each before anything is written; whatever fails later is in the job and the rows.
        """
        options = request.options
        only_enlarges = options.init_image is not None and options.upscale > 1 and options.parent_id is None
        if only_enlarges and not str(request.prompt).strip() and request.mask is None and request.picture is None:
            return self.upscale(owner_id, str(options.init_image), options.upscale, idempotency_key=request.idempotency_key)
        return self._imagine(owner_id, request, None)

    @storage_errors()
    def vary(self, owner_id: str, creation_id: str, n: int = 4, *, idempotency_key: str | None = None) -> ImagineStarted:
        """Draw the Creation's prompt again with its settings and new seeds, as versions. Raises what `imagine` raises."""
        with self._database.read() as uow:
            creation = image_creation(uow, owner_id, creation_id)
            inputs = inputs_of(uow, owner_id, creation)
        options = options_again(creation, n)
        return self._imagine(owner_id, ImagineRequest("", options, idempotency_key=idempotency_key), inputs)

    @storage_errors()
    def upscale(self, owner_id: str, creation_id: str, factor: int = 2, *, idempotency_key: str | None = None) -> ImagineStarted:
        """Enlarge a finished picture 2 or 4 times, as a version of it (one Creation). Raises what `imagine` raises."""
        if factor not in UPSCALE_FACTORS[1:] or isinstance(factor, bool):
            raise BadOptionError("A picture is enlarged 2 or 4 times.", key="error.upscale_factor")
        with self._database.write() as uow:
            original = image_creation(uow, owner_id, creation_id)
            source = creation_input(original)
            before = int(original.params.get("upscale") or 1)
            params = {**original.params, "upscale": before * factor, "n": 1, "enlarged": True}
            if "width" not in params:
                raise BadOptionError("Only a picture that was drawn here can be enlarged.", key="error.upscale_origin")
            check_final_side(max(params["width"], params["height"]) * before * factor)
            started = _started((uuid.uuid4().hex,), original.turn_id, (original.seed or 0,), original.model_id)
            job, is_new = uow.jobs.add(
                owner_id, kind="upscale", request=started.as_json(), idempotency_key=clean_key(idempotency_key), id=started.job_id
            )
            if not is_new:
                return ImagineStarted.from_json(job.id, job.request)
            made = add_rows(uow, owner_id, started, original.prompt, params, (source,), parent=original, origin="edited")
            uow.commit()
        self._run(job, self._upscale_job(owner_id, started, made[0], source))
        return started

    @storage_errors()
    def skip(self, owner_id: str, job_id: str, creation_id: str | None = None) -> bool:
        """Leave out the picture that is being drawn (or that one, also while it waits) and go on with the next.

        Returns False when there is nothing to skip any more. Its Creation ends as cancelled with finish_reason "skipped".
        Stop is JobsService.cancel: it ends the whole job; pictures that are finished stay.
        """
        with self._database.read() as uow:
            uow.jobs.get(owner_id, job_id)
        work = self._alive.get(job_id)
        return work is not None and work.skip(creation_id)

    @storage_errors()
    def resume(self, owner_id: str, job_id: str) -> ImagineStarted:
        """Queue an interrupted, stopped or failed job again: it draws the pictures that are missing, with their seeds.

        Raises NotFoundError, BadOptionError when nothing is missing, BusyError while it runs, NoModelError.
        """
        with self._database.write() as uow:
            job = uow.jobs.get(owner_id, job_id)
            if job.kind not in IMAGE_KINDS:
                raise BadOptionError("Only pictures can be gone on with here.", key="error.image_resume_kind")
            started = ImagineStarted.from_json(job.id, job.request)
            if job.status not in FINAL:
                raise BusyError("These pictures are still being drawn; wait or stop them first.", key="error.image_running")
            creations = uow.creations.get_many(owner_id, started.creation_ids)
            missing = [one for one in creations if one.status != "done" and one.finish_reason != "skipped"]
            if not missing or not can_resume(job.kind, job.status):
                raise BadOptionError("Nothing of this is missing; there is nothing to go on with.", key="error.image_complete")
            inputs = inputs_of(uow, owner_id, missing[0])
            spec, _ = self._catalog.require(owner_id, started.model_id) if job.kind == "imagine" else (None, None)
            for one in missing:
                uow.creations.update(owner_id, one.id, status="queued", error=None, finish_reason=None)
            job = uow.jobs.update(job_id, status="queued", result=None, error=None, finished_at=None)
            creations = uow.creations.get_many(owner_id, started.creation_ids)
            uow.commit()
        if spec is None:
            self._run(job, self._upscale_job(owner_id, started, creations[0], inputs[0]))
        else:
            first = creations[0]
            plan = Plan(
                spec, self._words(first.prompt, first.params.get("negative") or "", first.params.get("style"), spec), inputs
            )
            self._run(job, ImagineJob(owner_id, started, creations, plan, self._parts))
        return started

    @storage_errors()
    def reproduce(self, owner_id: str, creation_id: str) -> str:
        """Draw the Creation again from what its row records and compare every pixel; returns the job's id.

        The job's data has a `preview` while it runs; its result is {"creation_id", "identical", "same_model"}; the last says
        whether the weights are those it was drawn with. No Creation is made.
        Raises BadOptionError for what has no recorded settings (imported, enlarged), BusyError, NoModelError.
        """
        with self._database.read() as uow:
            creation = image_creation(uow, owner_id, creation_id)
            inputs = inputs_of(uow, owner_id, creation)
        if creation.status not in FINAL:
            raise BusyError("These pictures are still being drawn; wait or stop them first.", key="error.image_running")
        if creation.origin != "generated" or not creation.path or creation.media_name is None or not was_drawn(creation):
            text = "This picture has no recorded settings, so it cannot be drawn again: it was enlarged, imported or cut off."
            raise BadOptionError(text, key="error.image_no_path")
        spec, _ = self._catalog.require(owner_id, creation.model_id)
        with self._database.write() as uow:
            job, _ = uow.jobs.add(owner_id, kind="redraw", request={"creation_id": creation.id})
            uow.commit()
        work = RedrawJob(creation, Plan(spec, recorded_words(creation), inputs), self._parts)
        self._runner.start(job, work.body, lane="batch", data=work.data())
        return job.id

    @storage_errors()
    def expand(self, owner_id: str, prompt: str, *, idempotency_key: str | None = None) -> str:
        """Let the default text model add detail to a prompt; returns the job's id.

        The job's data is {"text"} while it grows; its result {"prompt", "expanded"}. Raises BadOptionError for an empty prompt,
        NoModelError when the text model is missing or does not write the prompt's language.
        """
        words = _prompt(prompt)
        if not words.strip():
            raise BadOptionError("Write a prompt first.", key="error.prompt_empty")
        model_id, specs = self._catalog.text_model(owner_id)
        notice = language_notice(words, model_id, specs)
        if notice is not None:
            raise NoModelError(notice.message, key=notice.key, **notice.values)
        with self._database.write() as uow:
            request = {"prompt": words, "model_id": model_id}
            job, is_new = uow.jobs.add(owner_id, kind="expand", request=request, idempotency_key=clean_key(idempotency_key))
            uow.commit()
        if is_new:
            work = ExpandJob(words, model_id, self._text_host)
            self._runner.start(job, work.body, lane="interactive", data=work.data())
        return job.id

    @storage_errors()
    def read_settings(self, owner_id: str, data: bytes) -> FoundSettings:
        """Read how a picture was made from a file of ours, or of another tool with the common `parameters` text.

        Raises BadFileError for what is no picture and for one without settings, TooLongError for one beyond the limits.
        """
        labels = read_labels(data)
        if labels is None:
            text = "This picture does not say how it was made, so there are no settings in it."
            raise BadFileError(text, key="error.image_no_settings")
        with self._database.read() as uow:
            own = uow.creations.get_many(owner_id, [labels.creation_id] if labels.creation_id else [])
        choices = self._catalog.choices(owner_id)
        return settings_from(labels, choices.models, choices.default_model_id, own[0].id if own else None)

    def warm(self, owner_id: str) -> bool:
        """Load the default image model in the background, so that the first click does not wait; False when it is not here."""
        try:
            spec, _ = self._catalog.require(owner_id, None)
        except NoModelError:
            return False
        self._parts.host.warm(spec.id)
        return True

    def choices(self, owner_id: str) -> ImageChoices:
        """Models with their styles, schedulers, presets, sizes and defaults, and the limits. Loads nothing."""
        return self._catalog.choices(owner_id)

    def style_picture(self, owner_id: str, model_id: str, style: str) -> Path:
        """A small picture of one of a model's own styles, drawn by it (engine/image/thumbnails.py). Raises NotFoundError."""
        return self._catalog.style_picture(owner_id, model_id, style)

    @storage_errors()
    def recent(self, owner_id: str, rater_id: str, *, limit: int = 20, before_job_id: str | None = None) -> tuple[Batch, ...]:
        """The newest clicks with their pictures, newest first; with a job's id those before it. Empty ones are left out."""
        wanted, batches = max(1, min(limit, 100)), list[Batch]()
        with self._database.read() as uow:
            while len(batches) < wanted:
                jobs = uow.jobs.newest(owner_id, IMAGE_KINDS, limit=wanted, before_id=before_job_id)
                found = (batch_of(uow, owner_id, rater_id, job) for job in jobs)
                batches += [batch for batch in found if batch.creations]
                if len(jobs) < wanted:
                    break
                before_job_id = jobs[-1].id
        return tuple(batches[:wanted])

    @storage_errors()
    def batch(self, owner_id: str, rater_id: str, job_id: str) -> Batch:
        """One click with its pictures. Raises NotFoundError."""
        with self._database.read() as uow:
            return batch_of(uow, owner_id, rater_id, uow.jobs.get(owner_id, job_id))

    @storage_errors()
    def export(self, owner_id: str, creation_id: str, *, format: Format = "png", visible: bool = False) -> PictureFile:
        """The picture as png, webp or jpeg with its labels, with "AI生成" written on it when `visible`.

        Raises NotFoundError for a Creation without a picture, BadOptionError for another format.
        """
        return self._pictures.export(owner_id, creation_id, format, visible=visible)

    @storage_errors()
    def thumbnail(self, owner_id: str, creation_id: str) -> Path:
        """A small WebP (256 pixels on the longer side) with the same labels, made when first asked for. Raises NotFoundError."""
        return self._pictures.thumbnail(owner_id, creation_id)

    def _imagine(self, owner_id: str, request: ImagineRequest, inherited: tuple[Input, ...] | None) -> ImagineStarted:
        """As `imagine`; `inherited` are the inputs of the Creation whose versions are made."""
        prompt, key = _prompt(request.prompt), clean_key(request.idempotency_key)
        negative = clean_text(request.options.negative, max_chars=IMAGE_PROMPT_MAX_CHARS, what="The negative prompt")
        options = replace(request.options, negative=negative)
        if not prompt.strip() and options.parent_id is None:
            raise BadOptionError("Write a prompt first.", key="error.prompt_empty")
        spec, choice = self._catalog.require(owner_id, options.model)
        starts = bool(inherited) or options.init_image is not None or request.picture is not None
        masked = request.mask is not None or any(one.role == "mask" for one in inherited or ())
        _check_sources(request, starts=starts)
        params = resolved(options, choice, drawing_of(spec.drawing), starts=starts, masked=masked)
        inputs = inherited or self._kept(request)
        with self._database.write() as uow:
            parent = image_creation(uow, owner_id, options.parent_id) if options.parent_id is not None else None
            if options.init_image is not None and inherited is None:
                inputs = (creation_input(uow.creations.get(owner_id, options.init_image)), *inputs)
            prompt = prompt if parent is None or prompt.strip() else parent.prompt
            params |= self._origin(options, inputs, spec)
            seed = seed_or_drawn(options.seed)
            ids = tuple(uuid.uuid4().hex for _ in range(options.n))
            started = _started(ids, parent.turn_id if parent else ids[0], tuple(seed + i for i in range(options.n)), spec.id)
            notice = language_notice(prompt, spec.id, self._catalog.specs(owner_id), about="image")
            started = replace(started, notices=(notice,) if notice else ())
            job, is_new = uow.jobs.add(
                owner_id, kind="imagine", request=started.as_json(), idempotency_key=key, id=started.job_id
            )
            if not is_new:
                return ImagineStarted.from_json(job.id, job.request)
            made = add_rows(uow, owner_id, started, prompt, params, inputs, parent=parent)
            uow.commit()
        plan = Plan(spec, self._words(prompt, negative, options.style, spec), inputs)
        self._run(job, ImagineJob(owner_id, started, made, plan, self._parts))
        return started

    def _kept(self, request: ImagineRequest) -> tuple[Input, ...]:
        given = (("init", request.picture), ("mask", request.mask))
        return tuple(kept_picture(self._parts.files, data, role) for role, data in given if data is not None)  # type: ignore[arg-type]

    def _origin(self, options: ImagineOptions, inputs: Sequence[Input], spec: ModelSpec) -> dict[str, Any]:
        has_init = any(one.role == "init" for one in inputs)
        return {
            "style_is_own": spec.family == STICKER_FAMILY,
            "init": {"creation_id": options.init_image} if has_init else None,
            "mask": any(one.role == "mask" for one in inputs),
            "from_picture": any(one.is_own for one in inputs),
        }

    def _words(self, prompt: str, negative: str, style: str | None, spec: ModelSpec) -> tuple[str, str]:
        """As the model gets them: a style that it was not taught is said in words."""
        if spec.family == STICKER_FAMILY or style is None:
            return prompt, negative
        return self._catalog.styles[style].apply(prompt, negative) if style in self._catalog.styles else (prompt, negative)

    def _upscale_job(self, owner_id: str, started: ImagineStarted, creation: CreationRecord, source: Input) -> UpscaleJob:
        spec = self._catalog.upscaler(owner_id, started.model_id)
        return UpscaleJob(owner_id, started, creation, source, spec, self._parts)

    def _run(self, job: JobRecord, work: ImagineJob | UpscaleJob) -> None:
        self._alive[job.id] = work

        def end(context: Any, status: Any, error: str | None) -> None:
            self._alive.pop(job.id, None)
            work.end(context, status, error)

        self._runner.start(job, work.body, lane="batch", data=work.data(), on_end=end)


def _started(ids: tuple[str, ...], turn_id: str, seeds: tuple[int, ...], model_id: str) -> ImagineStarted:
    return ImagineStarted(uuid.uuid4().hex, ids, turn_id, seeds, model_id, BASE)


def _prompt(prompt: object) -> str:
    return clean_text(prompt, max_chars=IMAGE_PROMPT_MAX_CHARS, what="The prompt")


def _check_sources(request: ImagineRequest, *, starts: bool) -> None:
    if request.picture is not None and request.options.init_image is not None:
        text = "There are two pictures to start from; give one."
        raise BadOptionError(text, key="error.image_two_starts")
    if request.mask is not None and not starts:
        raise BadOptionError("A mask needs a picture to start from.", key="error.image_mask_alone")
