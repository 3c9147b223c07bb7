"""Learning for programs: freeze a dataset, train, test blindly, vote, promote. Documented in docs/api.md and docs/learning.md.

Knows the names and shapes outsiders rely on; every decision is the services'. What /match answers never says which side is which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import gradio as gr

from engine.errors import BadOptionError
from engine.types import DatasetOptions, EvaluateOptions, TrainOptions, options_from_json
from storage.records import Choice
from ui.api_edge import Answer, Options, Owner, id_of, known_options, object_of, task_of, zoned
from ui.i18n import translator
from ui.view_dataset import more_for_a_good_start

if TYPE_CHECKING:
    from engine.jobs.job import JobSnapshot
    from engine.studio import Studio

CHOICES: tuple[str, ...] = get_args(Choice)


def endpoints(studio: Studio, owner: Owner) -> dict[str, Callable[..., Answer]]:
    """Every endpoint of learning by its name. `owner(request)` says whose rows a call may see."""
    return {**_train(studio, owner), **_test(studio, owner)}


def _train(studio: Studio, owner: Owner) -> dict[str, Callable[..., Answer]]:
    def dataset(options: Options = None, request: gr.Request | None = None) -> Answer:
        """Freeze ratings into a dataset; the same ratings again are the same dataset."""
        whose, wish = owner(request), options_from_json(DatasetOptions, options)
        frozen = studio.datasets.freeze(whose, whose, replace(wish, filter=zoned(wish.filter)))
        more = more_for_a_good_start(frozen.method, frozen.counts, translator("en"))
        return {
            "dataset_id": frozen.id,
            "sha256": frozen.sha256,
            "counts": dict(frozen.counts),
            "train": frozen.counts["train"],
            "held_out": frozen.counts["held_out"],
            "missing": [more] if more else [],
        }

    def train(options: Options = None, request: gr.Request | None = None) -> Answer:
        """Start a training, or go on with one; /run says how it goes."""
        whose, given = owner(request), {name: value for name, value in object_of(options).items() if value is not None}
        if "resume" in given:
            run_id = id_of(known_options(given, ("resume",))["resume"], "resume")
            return {"run_id": studio.training.resume(whose, run_id)}
        return {"run_id": studio.training.train(whose, whose, options_from_json(TrainOptions, given)).run_id}

    return {"dataset": dataset, "train": train}


def _test(studio: Studio, owner: Owner) -> dict[str, Callable[..., Answer]]:
    def evaluate(adapter_id: str, options: Options = None, request: gr.Request | None = None) -> Answer:
        """Start a blind test; /match gives its comparisons one by one, /run its result."""
        wish = options_from_json(EvaluateOptions, options)
        return {"run_id": studio.arena.evaluate(owner(request), id_of(adapter_id, "adapter_id"), wish)}

    def match(run_id: str, request: gr.Request | None = None) -> Answer:
        """The next comparison without a vote."""
        whose = owner(request)
        shown = studio.arena.match(whose, whose, id_of(run_id, "run_id"))
        return {
            "match_id": shown.match_id,
            "prompt": shown.prompt,
            "left": shown.left,
            "right": shown.right,
            "remaining": shown.remaining,
        }

    def vote(match_id: str, choice: str, request: gr.Request | None = None) -> Answer:
        """Say which side is better; voting again replaces the vote."""
        if choice not in CHOICES:
            raise BadOptionError(f'"choice" must be one of {", ".join(CHOICES)}.')
        whose = owner(request)
        voted = studio.arena.vote(whose, whose, id_of(match_id, "match_id"), choice)  # type: ignore[arg-type]  # checked above
        return {"votes": voted.votes, "remaining": voted.remaining}

    def promote(adapter_id: str, options: Options = None, request: gr.Request | None = None) -> Answer:
        """Use this adapter from now on, or "base" to go back to the model as it was installed."""
        wish = known_options(options, ("task", "override"))
        override = wish.get("override")
        if override is not None and (not isinstance(override, str) or not override.strip()):
            raise BadOptionError('Option "override" must be a reason in words, or null.')
        task = task_of(wish["task"]) if wish.get("task") is not None else None
        made = studio.adapters.promote(owner(request), id_of(adapter_id, "adapter_id"), task=task, override=override)
        return {"task": made.task, "promoted": made.adapter_id}

    return {"evaluate": evaluate, "match": match, "vote": vote, "promote": promote}


def learned(studio: Studio, owner_id: str, job: JobSnapshot) -> Answer:
    """The fields of /run that only learning fills: {metrics, samples, adapter_id, result}."""
    fields: Answer = {"metrics": {}, "samples": [], "adapter_id": None, "result": dict(job.result) if job.result else None}
    if job.kind == "train":
        run = studio.training.run(owner_id, job.job_id)
        fields |= {"metrics": newest(run.metrics), "samples": [dict(sample) for sample in run.samples]}
        fields["adapter_id"] = run.adapter.id if run.adapter else None
    elif job.kind == "evaluate":
        outcome = studio.arena.result(owner_id, owner_id, job.job_id)
        fields |= {"adapter_id": outcome["adapter_id"], "result": outcome}
    return fields


def newest(series: Iterable[Mapping[str, Any]]) -> Answer:
    """The newest value of each figure in a series of points; `t`, when a point was measured, is none."""
    figures: Answer = {}
    for point in series:
        figures.update({name: value for name, value in point.items() if value is not None and name != "t"})
    return figures
