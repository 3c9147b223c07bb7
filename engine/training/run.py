"""The training child: `python -m engine.training.run JOB_DIR`.

Reads JOB_DIR/job.json, writes checkpoints, TensorBoard files and events there (engine/jobs/process.py), and at the very end one
adapter folder elsewhere. Killed at any moment it leaves whole checkpoints and no adapter, or the whole adapter. It opens no
database and asks no network.

    job.json: run_id, adapter_id, task, recipe, model_dir, base_sha256, base_model_id, dataset_dir, dataset_sha256, output_dir,
              device, threads, settings, samples [{messages, seed}], resume, the run's name, and, when it is not 10, nice
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.device import training_dtype
from engine.errors import CancelledError, StudioError
from engine.jobs.process import ChildReporter, error_fields, read_events
from engine.training import artifact, checkpoints
from engine.training.args import TrainingSettings
from engine.training.watch import StoppedError, Watch, finite

if TYPE_CHECKING:
    from engine.training.monitor import Monitor
    from engine.training.rows import Row, TrainingRows
    from engine.training.trainer import Parts

_NICE = 10
PICTURE = "run.png"
TENSORBOARD = "tensorboard"
WIDENED = "widened.json"
"""Pairs that training found itself; kept for a resume and for who wants to look."""

logger = logging.getLogger(__name__)


class TrainingRun:
    """One attempt at one run."""

    def __init__(self, job_dir: Path, job: Mapping[str, Any], watch: Watch) -> None:
        self.job_dir = job_dir
        self.job = job
        self.watch = watch
        self.settings = TrainingSettings.from_json(job["settings"])
        self.device = str(job["device"]).partition(":")[0]
        self.output_dir = Path(job["output_dir"])
        self.part_dir = artifact.part_of(self.output_dir)

    def go(self) -> artifact.AdapterManifest:
        """Train and publish the adapter. Raises StoppedError, CancelledError or StudioError."""
        shutil.rmtree(self.part_dir, ignore_errors=True)
        if self.job.get("resume"):
            published = self._published()
            if published is not None:
                return published
        else:
            shutil.rmtree(self.job_dir / "checkpoints", ignore_errors=True)
            (self.job_dir / WIDENED).unlink(missing_ok=True)
        self.watch.phase("load")
        parts = self._load()
        self.watch.phase("prepare")
        trainer = _build(self.job["recipe"], parts)
        monitor = self._monitor(trainer, parts)
        trainer.add_callback(monitor)
        self._train(trainer, monitor)
        if self.watch.stopping:
            raise StoppedError
        self.watch.finishing = False
        self.watch.phase("evaluate", trainer.state.global_step, trainer.state.global_step)
        figures = monitor.settle(max(1, trainer.state.global_step))
        self.watch.phase("save")
        return self._publish(trainer.model, monitor, figures)

    def _published(self) -> artifact.AdapterManifest | None:
        """The adapter of an earlier attempt that was killed between publishing it and saying so."""
        try:
            manifest = artifact.verify(self.output_dir)
        except StudioError:
            return None
        return manifest if manifest.run_id == self.job["run_id"] else None

    def _load(self) -> Parts:
        import torch
        from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

        from engine.text.chat import ChatFormat
        from engine.training.rows import load_rows
        from engine.training.trainer import Parts

        torch.set_num_threads(max(1, int(self.job["threads"])))
        folder = Path(self.job["model_dir"])
        chat = ChatFormat(folder)
        rows = load_rows(Path(self.job["dataset_dir"]), chat, self.settings)
        if rows.dropped:
            self.watch.log(f"{rows.dropped} rows were left out: their prompts fill max_length.")
        self.watch.check_or_stop()
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, training_dtype(self.device)),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
        model.to(self.device)
        end = chat.tokenizer.id_to_token(min(chat.stop_ids))
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), eos_token=end, pad_token=end)
        self._chat = chat
        if self.settings.method == "dpo" and self.settings.widen:
            rows = load_rows(Path(self.job["dataset_dir"]), chat, self.settings, self._further(model, rows))
        return Parts(model, tokenizer, rows, self.settings, self.watch, self.job_dir, self.device)

    def _further(self, model: Any, rows: TrainingRows) -> list[Row]:
        """Pairs of answers that the model writes now, before it is trained; the same ones again after a resume."""
        from engine.training.rows import TRAIN, read_rows
        from engine.training.samples import Speaker
        from engine.training.widen import MOST_TOKENS, widen

        longest = max(len(row[name]) for row in rows.train for name in ("chosen_ids", "rejected_ids"))
        return widen(
            read_rows(Path(self.job["dataset_dir"]) / TRAIN),
            self.settings.widen,
            min(MOST_TOKENS, longest),
            Speaker(model, self._chat, self.watch.check_or_stop),
            self.watch,
            path=self.job_dir / WIDENED,
            seed=self.settings.seed,
        )

    def _monitor(self, trainer: Any, parts: Parts) -> Monitor:
        from engine.text.model import Message
        from engine.training.monitor import Monitor, Probes
        from engine.training.samples import FluencyProbe, SamplePrompt, Speaker

        prompts = [
            SamplePrompt(tuple(Message(m["role"], m["content"]) for m in sample["messages"]), int(sample["seed"]))
            for sample in self.job["samples"]
        ]
        speaker = Speaker(trainer.model, self._chat, self.watch.check_or_stop)
        probe = FluencyProbe(speaker, self._chat, prompts, parts.rows.texts)
        rows = parts.rows
        probes = Probes(speaker, probe, prompts, rows.answer_tokens, len(rows.held_out))
        return Monitor(trainer.model, self.settings, self.watch, probes)

    def _train(self, trainer: Any, monitor: Monitor) -> None:
        newest, broken = checkpoints.newest(self.job_dir / "checkpoints")
        for name in broken:
            self.watch.log(f"{name} is not whole and was left out.")
            checkpoints.discard(self.job_dir / "checkpoints" / name)
        if newest is None:
            monitor.start()
            self.watch.phase("train", 0, trainer.args.max_steps)
            trainer.train()
        else:
            monitor.restore(newest.folder)
            self.watch.log(f"Going on after step {newest.step}.")
            if not monitor.state.finished:
                self.watch.phase("train", newest.step, trainer.args.max_steps)
                trainer.train(resume_from_checkpoint=str(newest.folder))
            else:
                trainer.state.global_step = newest.step
                _load_weights(trainer.model, newest.folder)
        if not monitor.state.finished:
            raise StoppedError

    def _publish(self, model: Any, monitor: Monitor, figures: Mapping[str, Any]) -> artifact.AdapterManifest:
        self.watch.check()
        self.part_dir.parent.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(self.part_dir, safe_serialization=True, save_embedding_layers=False)
        for path in self.part_dir.iterdir():
            if path.name not in (artifact.CONFIG, artifact.WEIGHTS):
                path.unlink()  # PEFT's model card
        job = self.job
        names = ("adapter_id", "run_id", "task", "base_model_id", "base_sha256", "recipe", "dataset_sha256")
        facts = {name: job[name] for name in names}
        manifest = {
            **facts,
            "settings": job["settings"],
            "metrics": finite(figures),
            "stopped_early": monitor.state.stopped_early,
        }
        return artifact.publish(self.part_dir, self.output_dir, manifest)

    def clean(self) -> None:
        """Delete what only a resume needs."""
        shutil.rmtree(self.job_dir / "checkpoints", ignore_errors=True)
        shutil.rmtree(self.part_dir, ignore_errors=True)


def _build(recipe: str, parts: Parts) -> Any:
    """The recipe's trainer; each recipe is one file."""
    from importlib import import_module

    if recipe not in ("dpo", "kto", "sft"):
        raise StudioError(f'There is no recipe "{recipe}".', key="error.recipe_unknown", name=recipe, names="dpo, kto, sft")
    return import_module(f"engine.training.recipes.{recipe}").build(parts)


def _load_weights(model: Any, folder: Path) -> None:
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    set_peft_model_state_dict(model, load_file(folder / artifact.WEIGHTS))


def run(job_dir: Path) -> int:
    """Do the job in `job_dir` and tell how it ended; return the exit code."""
    job = json.loads((job_dir / "job.json").read_text(encoding="utf-8"))
    with ChildReporter(job_dir) as reporter:
        watch = Watch(reporter)
        watch.listen()
        try:
            work = TrainingRun(job_dir, job, watch)
            manifest = work.go()
            _draw(job_dir, str(job.get("name", "")))
            adapter = {"sha256": manifest.sha256, "size_bytes": manifest.size_bytes, "path": str(work.output_dir)}
            reporter.event("done", adapter=adapter, metrics=manifest.metrics, stopped_early=manifest.stopped_early)
            work.clean()
        except StoppedError:
            reporter.event("interrupted")
        except CancelledError:
            work.clean()
            reporter.event("cancelled")
        except Exception as error:  # noqa: BLE001  # the edge of the process: whatever went wrong must be told
            logger.exception("training %s", job.get("run_id"))
            reporter.event("failed", error=_details(error))
            return 1
    return 0


def _draw(job_dir: Path, title: str) -> None:
    from engine.training.picture import draw

    draw(read_events(job_dir / "events.jsonl")[0], job_dir / PICTURE, title=title)


def _details(error: Exception) -> dict[str, Any]:
    """The error as one sentence for a person."""
    if not isinstance(error, StudioError):
        error = _as_studio_error(error)
    return error_fields(error)


def _as_studio_error(error: Exception) -> StudioError:
    words = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or "out of memory" in words.lower() or "can't allocate memory" in words:
        text = "The machine's memory did not suffice. Use a smaller micro_batch_size or max_length, or close other programs."
        return StudioError(text, key="error.training_memory")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        text = "The disk is full. Free some space, then resume: training goes on after its last checkpoint."
        return StudioError(text, key="error.training_disk")
    text = "Training broke off unexpectedly. Resume goes on after the last checkpoint; the run's log says more."
    return StudioError(text, key="error.training_broke")


def main(job_dir: Path) -> int:
    """Set the process up (quiet, behind everybody else, no network), then run."""
    job = json.loads((job_dir / "job.json").read_text(encoding="utf-8"))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    device, _, number = str(job["device"]).partition(":")
    os.environ.update(
        HF_HUB_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        TOKENIZERS_PARALLELISM="false",
        OMP_NUM_THREADS=str(max(1, int(job["threads"]))),
        # Threads that wait for each other spin for some microseconds and then sleep: sleeping at once costs a third of the
        # speed, and spinning on makes everything several times slower on a machine that does something else too.
        OMP_WAIT_POLICY="PASSIVE",
        GOMP_SPINCOUNT="10000",
        TENSORBOARD_LOGGING_DIR=str(job_dir / TENSORBOARD),
        TQDM_DISABLE="1",
    )
    if device == "cuda":
        os.environ["CUDA_VISIBLE_DEVICES"] = number or "0"
    elif device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if hasattr(os, "nice"):
        os.nice(int(job.get("nice", _NICE)))
    return run(job_dir)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
