"""The jobs that make pictures: draw the pictures of one click one after another, enlarge one, draw one again to compare.

A picture's file is on the disk before its row says so, and the row is committed before the next picture begins, so that whatever
ends the job keeps what is done. Knows the model host, files and rows that exist already; knows no click and no page.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from engine.errors import CancelledError
from engine.image.model import ImageModel, ImageRequest, ImageStep
from engine.jobs.job import CancelToken
from engine.jobs.runner import JobContext
from engine.models.catalog import ModelSpec
from engine.safety.labels import save_labelled
from engine.services.edge import storage_errors
from engine.services.image_inputs import Input, read_picture
from engine.services.image_parts import (
    ImageParts,
    final_size,
    kept_where_black,
    label_of,
    media_name_of,
    preview_url,
    same_pixels,
)
from engine.services.image_records import ImagineStarted, image_data
from engine.services.picture_draft import PictureDraft, expected_steps
from storage.records import CreationRecord, JobStatus, Json

if TYPE_CHECKING:
    from PIL.Image import Image

GIVE_WAY_S: Final = 0.05
"""How often it is asked whether somebody still waits for a text."""
MAX_WAIT_S: Final = 120.0
"""Longest wait before one step: whoever writes without end must not hold up a picture for ever."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a job draws with, besides what its rows say."""

    spec: ModelSpec
    words: tuple[str, str]
    """Prompt and negative prompt as the model gets them, style included where it is words."""
    inputs: tuple[Input, ...] = ()

    def path(self, parts: ImageParts) -> dict[str, Any]:
        """What decides about the pixels besides the rows' parameters, as the rows record it."""
        return {**parts.path_of(self.spec), "prompt": self.words[0], "negative": self.words[1]}


@dataclass(frozen=True, slots=True)
class Sources:
    """What the pictures of a job start from, opened once."""

    start: Image | None = None
    mask: Image | None = None

    @staticmethod
    def of(parts: ImageParts, inputs: Sequence[Input]) -> Sources:
        """Read the files. Raises BadFileError."""
        read = {one.role: read_picture(parts.files, one.media_name, one.media_sha256) for one in inputs}
        return Sources(read.get("init"), read.get("mask"))


def request_of(creation: CreationRecord, words: tuple[str, str], sources: Sources) -> ImageRequest:
    """What the model is asked for."""
    params = creation.params
    return ImageRequest(
        prompt=words[0],
        negative=words[1],
        style=params["style"] if params.get("style_is_own") else None,
        width=params["width"],
        height=params["height"],
        steps=params["steps"],
        guidance=params["guidance"],
        scheduler=params["scheduler"],
        seed=creation.seed or 0,
        image=sources.start,
        mask=sources.mask,
        strength=params["strength"] or 1.0,
        transparent=params["transparent"],
    )


class Pace:
    """Time left, from the steps so far."""

    def __init__(self) -> None:
        self._steps = 0
        self._spent_s = 0.0
        self._at_s: float | None = None

    def start(self) -> None:
        """What went before (loading, waiting) says nothing about the next step."""
        self._at_s = time.monotonic()

    def step(self) -> None:
        """One is done."""
        now_s = time.monotonic()
        if self._at_s is not None:
            self._steps += 1
            self._spent_s += now_s - self._at_s
        self._at_s = now_s

    def eta_s(self, left: int) -> float | None:
        """For so many more; None before the second step."""
        return self._spent_s / self._steps * left if self._steps > 1 else None


class ImagineJob:
    """Draws the pictures of one request. Its rows exist; `body` and `end` are what the runner calls."""

    def __init__(
        self,
        owner_id: str,
        started: ImagineStarted,
        creations: Sequence[CreationRecord],
        plan: Plan,
        parts: ImageParts,
    ) -> None:
        self._owner_id = owner_id
        self._started = started
        self._plan = plan
        self._path: Json = {}
        self._parts = parts
        self._pace = Pace()
        self._drafts = tuple(
            PictureDraft(
                creation,
                status=creation.status,
                total=expected_steps(creation.params),
                media_sha256=creation.media_sha256,
                finish_reason=creation.finish_reason,
            )
            for creation in creations
        )

    def data(self) -> Json:
        """What followers see: all of it, at this moment."""
        first = self._drafts[0].creation
        views = [draft.view() for draft in self._drafts]
        return image_data(self._started, first.prompt, first.params.get("style"), views)

    def skip(self, creation_id: str | None) -> bool:
        """Leave out that picture, or the one being drawn (else the next). False when there is none."""
        waiting = [draft for draft in self._drafts if not draft.is_final]
        for draft in waiting:
            if creation_id in (None, draft.id):
                return draft.skip()
        return False

    def body(self, context: JobContext) -> Json:
        """Draw what has no end yet. Raises CancelledError when it was stopped before that."""
        context.progress(0, self._total(), phase="loading")
        self._path = self._plan.path(self._parts)
        sources = Sources.of(self._parts, self._plan.inputs)
        for draft in self._drafts:
            if draft.is_final:
                continue
            context.cancel.check()
            self._draw(context, draft, sources)
        return {"creation_ids": [draft.id for draft in self._drafts if draft.status == "done"]}

    def end(self, context: JobContext, status: JobStatus, error: str | None) -> None:
        """Give every row an end of its own, whatever happened before."""
        left = [draft for draft in self._drafts if not draft.is_final]
        for draft in left:
            draft.end(status, error)
        self._write(left)
        context.publish(self.data())

    def _draw(self, context: JobContext, draft: PictureDraft, sources: Sources) -> None:
        token = draft.begin(context.cancel)
        self._write([draft])
        context.publish(self.data())
        began_s = time.monotonic()
        try:
            token.check()
            picture = self._picture(context, draft, token, sources)
        except CancelledError:
            context.cancel.check()
            draft.leave()
        else:
            data = save_labelled(picture, label_of(draft.creation, self._path))
            name = media_name_of(draft.id)
            with storage_errors():
                sha256 = self._parts.files.put(name, data)
            draft.finish(name, sha256, time.monotonic() - began_s, self._path)
        self._write([draft])
        context.publish(self.data())

    def _picture(self, context: JobContext, draft: PictureDraft, token: CancelToken, sources: Sources) -> Image:
        request = request_of(draft.creation, self._plan.words, sources)
        with self._parts.host.use_image(self._started.model_id) as model:
            self._say(context, "drawing")
            self._pace.start()

            def watch(step: ImageStep) -> None:
                draft.take(step)
                self._pace.step()
                self._say(context, "drawing")
                context.publish(self.data())
                give_way(token, self._parts, lambda note: self._say(context, "drawing", note))
                self._pace.start()

            return drawn(model, request, draft.creation.params, token, watch, lambda: self._say(context, "enlarging"))

    def _say(self, context: JobContext, phase: str, note: str = "") -> None:
        done, total = self._done(), self._total()
        context.progress(done, total, phase=phase, note=note, eta_s=self._pace.eta_s(total - done))

    def _total(self) -> int:
        return sum(draft.total for draft in self._drafts if not draft.is_skipped)

    def _done(self) -> int:
        counted = [draft for draft in self._drafts if not draft.is_skipped]
        return sum(draft.total if draft.status == "done" else draft.step for draft in counted)

    def _write(self, drafts: Sequence[PictureDraft]) -> None:
        with storage_errors(), self._parts.database.write() as uow:
            for draft in drafts:
                uow.creations.update(self._owner_id, draft.id, **draft.row())
            uow.commit()


class UpscaleJob:
    """Enlarges one picture into a Creation of its own."""

    def __init__(
        self,
        owner_id: str,
        started: ImagineStarted,
        creation: CreationRecord,
        source: Input,
        spec: ModelSpec | None,
        parts: ImageParts,
    ) -> None:
        """`spec` is the model whose own way of enlarging is used; None = interpolation, which needs no model."""
        self._owner_id = owner_id
        self._started = started
        self._source = source
        self._spec = spec
        self._parts = parts
        self._draft = PictureDraft(creation, status=creation.status, total=1)

    def data(self) -> Json:
        """As ImagineJob's."""
        creation = self._draft.creation
        return image_data(self._started, creation.prompt, creation.params.get("style"), [self._draft.view()])

    def skip(self, creation_id: str | None) -> bool:
        """One picture alone is stopped, not skipped."""
        return False

    def body(self, context: JobContext) -> Json:
        """Read, enlarge, keep."""
        draft = self._draft
        token = draft.begin(context.cancel)
        context.progress(0, 1, phase="enlarging")
        context.publish(self.data())
        began_s = time.monotonic()
        small = read_picture(self._parts.files, self._source.media_name, self._source.media_sha256)
        size = final_size(draft.creation.params)
        path: dict[str, Any] = {"engine": "lanczos"}
        if self._spec is None:
            large = resized(small, size)
        else:
            path = self._parts.path_of(self._spec)
            with self._parts.host.use_image(self._spec.id) as model:
                token.check()
                large = model.enlarge(small, *size)
        token.check()
        data = save_labelled(large, label_of(draft.creation, path))
        name = media_name_of(draft.id)
        with storage_errors():
            sha256 = self._parts.files.put(name, data)
        draft.finish(name, sha256, time.monotonic() - began_s, path)
        return {"creation_ids": [draft.id]}

    def end(self, context: JobContext, status: JobStatus, error: str | None) -> None:
        """Write the row's end."""
        self._draft.end(status, error)
        with storage_errors(), self._parts.database.write() as uow:
            uow.creations.update(self._owner_id, self._draft.id, **self._draft.row())
            uow.commit()
        context.publish(self.data())


class RedrawJob:
    """Draws one Creation again from what its row records, and compares. It changes no Creation."""

    def __init__(self, creation: CreationRecord, plan: Plan, parts: ImageParts) -> None:
        self._creation = creation
        self._plan = plan
        self._parts = parts

    def data(self, step: ImageStep | None = None) -> dict[str, Any]:
        """What followers see."""
        total = expected_steps(self._creation.params)
        shown = preview_url(step.preview) if step is not None and step.preview is not None else None
        done = {"step": step.step if step else 0, "total": step.total if step else total}
        return {"creation_id": self._creation.id, **done, "preview": shown}

    def body(self, context: JobContext) -> Json:
        """Returns {"creation_id", "identical", "same_model"}."""
        creation, pace = self._creation, Pace()
        context.progress(0, expected_steps(creation.params), phase="loading")
        request = request_of(creation, self._plan.words, Sources.of(self._parts, self._plan.inputs))

        def watch(step: ImageStep) -> None:
            pace.step()
            context.progress(step.step, step.total, phase="drawing", eta_s=pace.eta_s(step.total - step.step))
            context.publish(self.data(step))
            give_way(context.cancel, self._parts, lambda note: None)
            pace.start()

        with self._parts.host.use_image(creation.model_id) as model:
            picture = drawn(model, request, creation.params, context.cancel, watch, lambda: None)
        kept = read_picture(self._parts.files, creation.media_name or "", creation.media_sha256 or "")
        identical = same_pixels(picture, kept)
        same_model = creation.path.get("model_sha256") == self._parts.weights_sha256(self._plan.spec)
        return {"creation_id": creation.id, "identical": identical, "same_model": same_model}


def drawn(
    model: ImageModel,
    request: ImageRequest,
    params: Json,
    token: CancelToken,
    watch: Callable[[ImageStep], None],
    on_enlarge: Callable[[], None],
) -> Image:
    """The finished picture: drawn, kept where the mask is black, enlarged as asked."""
    picture: Image = model.draw(request, token, watch)
    if request.image is not None and request.mask is not None:
        picture = kept_where_black(picture, request.image, request.mask)
    size = final_size(params)
    if picture.size != size:
        on_enlarge()
        token.check()
        picture = model.enlarge(picture, *size)
    token.check()
    return picture


def give_way(token: CancelToken, parts: ImageParts, say: Callable[[str], None]) -> None:
    """Wait while somebody waits for a text: between two steps nothing is lost. Raises CancelledError."""
    if not parts.people_write():
        return
    say("waiting")
    deadline_s = time.monotonic() + MAX_WAIT_S
    while parts.people_write() and time.monotonic() < deadline_s and not token.wait(GIVE_WAY_S):
        pass
    token.check()
    say("")


def resized(picture: Image, size: tuple[int, int]) -> Image:
    """By interpolation."""
    from PIL.Image import Resampling

    return picture.resize(size, Resampling.LANCZOS)


def recorded_words(creation: CreationRecord) -> tuple[str, str]:
    """Prompt and negative prompt as the model got them."""
    path, params = creation.path, creation.params
    return str(path.get("prompt", creation.prompt)), str(path.get("negative", params.get("negative") or ""))
