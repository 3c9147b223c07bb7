"""Watches a training run from inside: figures of each step, a look at the held-out rows and the guards at intervals, the best
weights so far, checkpoints that are marked when they are whole, early stopping.

Knows transformers' callbacks and PEFT's weights; knows no loss and no data.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from engine.device import gpu_percent
from engine.errors import StudioError
from engine.training import checkpoints
from engine.training.args import TrainingSettings
from engine.training.guards import Fluency, breaches, length_drift
from engine.training.samples import Answer, FluencyProbe, SamplePrompt, Speaker
from engine.training.watch import StoppedError, Watch, finite

_SOFTER: Final = 0.75
_SOFTENINGS: Final = 9
"""Down to a tenth of the adapter."""
STATE: Final = "monitor.json"
BEST: Final = "best.safetensors"
_NAMES: Final = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "rewards/accuracies": "accuracy",
    "rewards/margins": "margin",
    "epoch": "epoch",
}
_HELD_OUT: Final = {
    "eval_loss": "held_out_loss",
    "eval_rewards/accuracies": "held_out_accuracy",
    "eval_rewards/margins": "held_out_margin",
}


@dataclass(frozen=True, slots=True)
class Probes:
    """What the monitor looks with."""

    speaker: Speaker
    fluency: FluencyProbe
    prompts: Sequence[SamplePrompt]
    answer_tokens: float
    """Mean length of the answers in the data."""
    held_out_rows: int = 0


@dataclass(slots=True)
class MonitorState:
    """What must survive a kill; written with each checkpoint."""

    base: dict[str, Any] = field(default_factory=dict)
    """`Fluency` before training."""
    best_step: int = 0
    """Step of the best weights within the limits; 0 = none yet."""
    best_score: float = 0.0
    """The highest one of weights that were kept; see `_score`."""
    best_figures: dict[str, Any] = field(default_factory=dict)
    looks_without_better: int = 0
    sampled_step: int = 0
    finished: bool = False
    stopped_early: bool = False


class Monitor(TrainerCallback):  # type: ignore[misc]
    """The callback. `start` or `restore` before training, `settle` after it."""

    def __init__(self, model: Any, settings: TrainingSettings, watch: Watch, probes: Probes) -> None:
        self.state = MonitorState()
        self._model = model
        self._settings = settings
        self._watch = watch
        self._probes = probes
        self._best: dict[str, torch.Tensor] = {}
        self._process = psutil.Process()
        self._clock = StepClock()

    # -- before and after ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Measure the model as it is and write the first samples. Raises StoppedError when asked to stop."""
        self._watch.phase("prepare")  # the rows are done; what is written now has no steps
        self._watch.log("The model as it is answers the sample prompts and reads neutral text, to compare with later.")
        answers = self._say(0)
        base = self._probes.fluency.measure(answers)
        self.state.base = base.to_json()
        self._watch.metrics(0, **_fluency_figures(base, base))

    def restore(self, folder: Path) -> None:
        """Go on from what was written with a checkpoint."""
        self.state = MonitorState(**json.loads((folder / STATE).read_text(encoding="utf-8")))
        if (folder / BEST).is_file():
            self._best = load_file(folder / BEST)

    def settle(self, step: int) -> Mapping[str, Any]:
        """Put the best weights into the model and make sure that their language is whole; return the figures to publish.

        Weights that break a limit even so are softened: the adapter counts for less, until none is broken. Raises StoppedError
        when asked to stop, and StudioError when nothing is left that could be saved.
        """
        if self._best:
            set_peft_model_state_dict(self._model, self._best)
        elif not _is_finite(self._model):
            text = "The loss was no number from the start, so there is nothing to save. Use a lower learning rate."
            raise StudioError(text, key="error.training_diverged")
        base, strength = Fluency(**self.state.base), 1.0
        for _ in range(_SOFTENINGS):
            answers = self._answers()
            now = self._probes.fluency.measure(answers)
            broken = breaches(now, base, self._settings)
            if not broken:
                break
            strength *= _SOFTER
            _soften(self._model, _SOFTER)
            figure, words = next(iter(broken.items()))
            text = f"The language suffers: {words}. The adapter counts for {strength:.0%} now."
            self._watch.alarm("softened", text, figure=figure, percent=round(100 * strength))
        else:
            text = (
                "No state of this training kept the language whole, so nothing was saved. Rate more, or use the careful preset."
            )
            raise StudioError(text, key="error.training_not_fluent")
        self._report(step, answers)
        self._watch_length(now, base)
        figures = {
            **self.state.best_figures,
            **_fluency_figures(now, base),
            "best_step": self.state.best_step,
            "strength": strength,
        }
        self._watch.metrics(step, **_fluency_figures(now, base))
        return figures

    # -- transformers' events --------------------------------------------------------------------------------------------

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._clock.begin(self._watch.waited_s)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        self._clock.end(self._watch.waited_s)
        self._watch.phase(
            "train", state.global_step, state.max_steps, self._clock.eta_s(state.global_step, state.max_steps, self._settings)
        )
        last = state.global_step >= state.max_steps
        if last:
            self._watch.finishing = True  # a stop can wait for the last look, which a resumed run could not have any more
            control.should_evaluate = args.eval_strategy != "no"
            control.should_save = True
        elif self._watch.stopping:
            self._interrupt(control)
        if args.eval_strategy == "no" and (last or state.global_step % self._settings.eval_steps == 0):
            try:
                self._look(state, control, {})
            except StoppedError:
                self._interrupt(control)
        return control

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float], **_: Any) -> Any:
        if "loss" not in logs:
            return control
        figures = {name: logs[key] for key, name in _NAMES.items() if key in logs}
        tokens_per_s = self._clock.tokens_per_s(logs.get("num_tokens", 0.0))
        self._watch.metrics(state.global_step, **figures, tokens_per_s=tokens_per_s, **self._load())
        if not math.isfinite(logs["loss"]) or not math.isfinite(logs.get("grad_norm", 0.0)):
            self._watch.alarm("nan", "The loss is no number any more; training ends here. A lower learning rate helps.")
            self.state.finished = self.state.stopped_early = True
            control.should_training_stop, control.should_evaluate, control.should_save = True, False, False
        return control

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Mapping[str, float], **_: Any) -> Any:
        self._look(state, control, metrics)  # a StoppedError ends the trainer's evaluate(), which expects it
        return control

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """The Trainer has written its files: add ours, then the marker."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if self._best:
            save_file(self._best, folder / BEST)
        state_json = {name: getattr(self.state, name) for name in MonitorState.__slots__}
        (folder / STATE).write_text(json.dumps(state_json), encoding="utf-8")
        done = checkpoints.complete(folder)
        self._watch.checkpoint(done.step, str(done.folder))
        return control

    # -- a look ----------------------------------------------------------------------------------------------------------

    def _look(self, state: Any, control: Any, metrics: Mapping[str, float]) -> None:
        """Judge the weights as they are now: keep them if they are the best within the limits, stop when it gets no better."""
        started, step, settings = time.monotonic(), state.global_step, self._settings
        self._watch.phase("evaluate", step, state.max_steps)
        # After the last step the weights that are kept answer anyway.
        due = step < state.max_steps and step - self.state.sampled_step >= max(1, settings.sample_steps)
        base = Fluency(**self.state.base)
        now = self._probes.fluency.measure(self._say(step) if due else ())
        held_out = {name: metrics[key] for key, name in _HELD_OUT.items() if key in metrics}
        figures = finite({**held_out, **_fluency_figures(now, base)})
        self._watch.metrics(step, **figures)
        self._watch_length(now, base)
        broken = breaches(now, base, settings)
        score = _score(step, held_out, settings)
        if broken:
            for name, words in broken.items():
                self._watch.alarm("fluency", f"The language suffers: {words}. This state is not kept.", figure=name)
        best = self.state.best_score if self.state.best_step else None
        if not broken and (best is None or score > least_score(best, settings, self._probes.held_out_rows)):
            self.state.best_step, self.state.best_figures = step, figures
            self.state.best_score = score if best is None else max(score, best)
            self._best = {name: weight.detach().cpu().clone() for name, weight in get_peft_model_state_dict(self._model).items()}
            self.state.looks_without_better = 0
        else:
            self.state.looks_without_better += 1
        self._clock.look(time.monotonic() - started)
        if step >= state.max_steps:
            self.state.finished = True
        elif self.state.looks_without_better >= settings.patience:
            self.state.finished = self.state.stopped_early = True
            control.should_training_stop = control.should_save = True
            self._watch.log(f"No better result at step {step}: training ends early, the best was step {self.state.best_step}.")

    def _say(self, step: int) -> list[Answer]:
        answers = self._answers()
        self._report(step, answers)
        return answers

    def _answers(self) -> list[Answer]:
        return self._probes.speaker.answers(self._probes.prompts, self._settings.sample_tokens)

    def _report(self, step: int, answers: Sequence[Answer]) -> None:
        for index, (prompt, answer) in enumerate(zip(self._probes.prompts, answers, strict=True)):
            self._watch.sample(step, index, prompt=prompt.messages[-1].content, text=answer.text, seed=prompt.seed)
        self.state.sampled_step = step

    def _watch_length(self, now: Fluency, base: Fluency) -> None:
        times = length_drift(now, base, self._probes.answer_tokens, self._settings)
        if times is not None:
            words = f"{times:.1f} times as long" if times > 1 else f"{1 / times:.1f} times shorter"
            text = f"Answers are {words} as the ratings explain. Look at the samples before you use this adapter."
            self._watch.alarm("length", text if times > 1 else text.replace(" as the", " than the"), times=round(times, 2))

    def _interrupt(self, control: Any) -> None:
        control.should_training_stop = control.should_save = True
        control.should_evaluate = False

    def _load(self) -> dict[str, float | int]:
        figures: dict[str, float | int] = {
            "cpu_percent": self._process.cpu_percent(),
            "rss_bytes": self._process.memory_info().rss,
        }
        if self._model.device.type == "cuda":
            figures["gpu_bytes"] = torch.cuda.memory_allocated()
            busy = gpu_percent(self._model.device.type)
            if busy is not None:
                figures["gpu_percent"] = busy
        return figures


class StepClock:
    """How long steps and looks take, waiting for people not counted."""

    def __init__(self) -> None:
        self._began = 0.0
        self._waited = 0.0
        self._step_s: float | None = None
        self._last_s = 0.0
        self._look_s = 0.0
        self._tokens = 0.0

    def begin(self, waited_s: float) -> None:
        """A step begins; `waited_s` so far in all."""
        self._began, self._waited = time.monotonic(), waited_s

    def end(self, waited_s: float) -> None:
        """It ends."""
        self._last_s = max(1e-6, time.monotonic() - self._began - (waited_s - self._waited))
        self._step_s = self._last_s if self._step_s is None else 0.8 * self._step_s + 0.2 * self._last_s

    def look(self, duration_s: float) -> None:
        """A look at the held-out rows took so long."""
        self._look_s = duration_s

    def tokens_per_s(self, tokens_so_far: float) -> float:
        """Tokens of the last step for each second of it."""
        tokens, self._tokens = tokens_so_far - self._tokens, tokens_so_far
        return max(0.0, tokens) / self._last_s

    def eta_s(self, step: int, total: int, settings: TrainingSettings) -> float:
        """Seconds until the last step, looks included."""
        left = total - step
        return left * (self._step_s or 0.0) + math.ceil(left / settings.eval_steps) * self._look_s


def _soften(model: Any, factor: float) -> None:
    """Make the adapter count for less: its product is B · A, so B alone is scaled."""
    weights = get_peft_model_state_dict(model)
    set_peft_model_state_dict(model, {n: w * factor if "lora_B" in n else w for n, w in weights.items()})


def _is_finite(model: Any) -> bool:
    return all(bool(torch.isfinite(weight).all()) for weight in get_peft_model_state_dict(model).values())


def _score(step: int, held_out: Mapping[str, float], settings: TrainingSettings) -> float:
    """What good weights have much of: held-out accuracy; for other methods a low loss; without such rows, steps."""
    if settings.method == "dpo" and "held_out_accuracy" in held_out:
        return held_out["held_out_accuracy"]
    return -held_out["held_out_loss"] if "held_out_loss" in held_out else float(step)


def least_score(best: float, settings: TrainingSettings, rows: int) -> float:
    """What later weights must have more of to be kept instead of those that have the `best` score so far.

    Of a share of few pairs the difference of one or two says nothing, so that weights which have learned longer are kept unless
    they are worse by more than its standard error, sqrt(p (1 - p) / n).
    """
    if settings.method != "dpo" or not rows or not 0 <= best <= 1:
        return best
    p = min(max(best, 1 / (2 * rows)), 1 - 1 / (2 * rows))
    return best - math.sqrt(p * (1 - p) / rows)


def _fluency_figures(now: Fluency, base: Fluency) -> dict[str, float]:
    growth = now.perplexity / base.perplexity - 1
    return finite({**now.to_json(), "perplexity_growth": growth})
