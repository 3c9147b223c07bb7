"""Training that is killed: does it go on, and is everything that was said kept?

    python -m bench.killed_training [--points 20] [--seed 7]

The real program on the starter model and a tiny dataset. One run goes undisturbed; the others are cut off with kill -9, each at a
random moment of its own part of that run, from its start to its end: the process that trains, and at every other point the studio
too. A moment is so far past so many events, so that it is the same place however busy the machine is. Meanwhile somebody rates
without a pause. Then the studio is started again if need be, the run is resumed through /train, and what came of it is compared
with the undisturbed one. Knows the API, the child's folder and adapters' files.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from gradio_client import Client, handle_file

from engine.errors import BadFileError
from engine.jobs.process import read_events
from engine.training.artifact import verify
from tests.browser.studio import RunningStudio
from tests.starter import starter_models

SUBJECTS = "bakery bookshop barber florist cinema museum garage tailor brewery gallery bistro pharmacy".split()
SETTINGS = {"epochs": 2.0, "max_length": 64, "sample_tokens": 8, "save_steps": 1, "eval_steps": 2, "patience": 100, "widen": 0}
"""As short as a run can be that still saves, looks and samples. The limits are wide: what is tested here is not the recipe."""
WIDE = {"fluency_limit": 10.0, "answer_perplexity_limit": 100.0, "odd_limit": 1.0, "repetition_limit": 1.0}
FINAL = ("done", "failed", "cancelled", "interrupted")
PATIENCE_S = 1800.0
RATE_PAUSE_S = 0.15
SCORES = [score / 500 for score in range(-500, 501)]


@dataclass
class Rater:
    """Rates imported answers one after another, and remembers what the studio has acknowledged."""

    client: Client
    creation_ids: list[str]
    random: random.Random
    acknowledged: dict[str, float] = field(default_factory=dict)
    asked: dict[str, float] = field(default_factory=dict)
    """What was sent and not answered: it may have been kept or not."""
    count: int = 0

    def rate_until(self, over: threading.Event) -> None:
        """Rate without a pause until told to end, or until nobody answers."""
        while not over.is_set():
            creation_id, score = self.random.choice(self.creation_ids), self.random.choice(SCORES)
            self.asked[creation_id] = score
            try:
                self.client.predict(creation_id, score, None, api_name="/rate")
            except Exception:  # noqa: BLE001  # the studio was killed in the middle of it
                return
            self.acknowledged[creation_id] = self.asked.pop(creation_id)
            self.count += 1
            over.wait(RATE_PAUSE_S)

    def lost(self, client: Client) -> int:
        """Acknowledged ratings that are not there (an unanswered one may have replaced them)."""
        items = client.predict("", {"rated": True}, 1, api_name="/library")["items"]
        kept = {item["id"]: item["score"] for item in items}
        lost = [key for key, score in self.acknowledged.items() if kept.get(key) not in (score, self.asked.get(key, score))]
        self.asked.clear()
        self.acknowledged.update({key: kept[key] for key in self.acknowledged if key in kept})
        return len(lost)


def pairs() -> str:
    """Preferences as TRL rows: the shorter answer wins."""
    rows = [
        {"prompt": f"A tagline for a {one}.", "chosen": f"Your {one}!", "rejected": f"This is a {one}, open every day."}
        for one in SUBJECTS
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def ask(client: Client, run_id: str) -> dict[str, Any]:
    """How a run stands."""
    state: dict[str, Any] = client.predict(run_id, api_name="/run")
    return state


def wait(client: Client, run_id: str) -> dict[str, Any]:
    """Until the run has ended, one way or another."""
    deadline = time.monotonic() + PATIENCE_S
    while (state := ask(client, run_id))["status"] not in FINAL:
        if time.monotonic() > deadline:
            raise SystemExit(f"the run does not end: {state}")
        time.sleep(0.2)
    return state


def processes(data_dir: Path, run_id: str) -> list[psutil.Process]:
    """Those that train this run; more than one only for a moment."""
    folder, found = str(data_dir / "runs" / run_id), []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if folder in process.cmdline():
                found.append(process)
    return found


def cut_off(studio: RunningStudio, run_id: str, *, with_studio: bool) -> None:
    """kill -9."""
    victims = processes(studio.data_dir, run_id)
    if with_studio:
        studio.kill()
    for process in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def adapter_of(data_dir: Path, folders: set[str]) -> str:
    """The hash of the one new adapter, "" when there is none. Raises SystemExit for half an adapter."""
    new = [path for path in (data_dir / "adapters").glob("*") if path.name not in folders and not path.name.startswith(".")]
    try:
        return verify(new[0]).sha256 if new else ""
    except BadFileError as error:
        raise SystemExit(f"half an adapter: {error}") from error


@dataclass(frozen=True)
class Timeline:
    """When each event of the undisturbed run came, in seconds after its start."""

    times_s: tuple[float, ...]

    def wait_for(self, part: float, events: Path, started_s: float) -> None:
        """Wait until another run is as far as the undisturbed one was after `part` of its time."""
        moment_s = part * self.times_s[-1]
        passed = sum(time_s <= moment_s for time_s in self.times_s)
        while passed and len(read_events(events)[0]) < passed:
            if time.time() - started_s > PATIENCE_S:
                raise SystemExit("the run comes to a standstill")
            time.sleep(0.02)
        before_s = self.times_s[passed - 1] if passed else 0.0
        pace = (time.time() - started_s) / before_s if before_s else 1.0
        time.sleep((moment_s - before_s) * pace)


@dataclass
class Bench:
    """One data folder, and the studio that is killed and started again on it."""

    studio: RunningStudio
    random: random.Random
    client: Client = field(init=False)
    rater: Rater = field(init=False)
    dataset_id: str = ""
    timeline: Timeline = field(init=False)
    sha256: str = ""

    def begin(self, folder: Path) -> None:
        """Bring the pairs in, freeze them, and let one run go undisturbed."""
        self.connect()
        rows = folder / "rows.jsonl"
        rows.write_text(pairs(), encoding="utf-8")
        self.client.predict(handle_file(str(rows)), None, api_name="/import")
        items = self.client.predict("", {}, 1, api_name="/library")["items"]
        self.rater = Rater(self.client, [item["id"] for item in items], self.random)
        self.dataset_id = self.client.predict({"kind": "dpo"}, api_name="/dataset")["dataset_id"]
        started_s = time.time()
        run_id = self.train()
        state = wait(self.client, run_id)
        if state["status"] != "done":
            raise SystemExit(f"the undisturbed run ended so: {state['error']}")
        self.timeline = Timeline(tuple(event["t"] - started_s for event in read_events(self.events_of(run_id))[0]))
        self.sha256 = adapter_of(self.studio.data_dir, set())
        print(f"undisturbed: {self.timeline.times_s[-1]:.0f} s", flush=True)

    def events_of(self, run_id: str) -> Path:
        """Where a run's process writes its events."""
        return self.studio.data_dir / "runs" / run_id / "events.jsonl"

    def connect(self) -> None:
        """Talk to the studio that runs now."""
        self.client = Client(self.studio.url, verbose=False, httpx_kwargs={"timeout": 120})

    def train(self) -> str:
        """Start a run; its id."""
        wish = {"dataset": self.dataset_id, "preset": "quick", "settings": {**SETTINGS, **WIDE}}
        run_id: str = self.client.predict(wish, api_name="/train")["run_id"]
        return run_id

    def point(self, part: float, *, with_studio: bool) -> dict[str, Any]:
        """Cut a run off after `part` of the time, and go on with it; what came of it."""
        there = {path.name for path in (self.studio.data_dir / "adapters").glob("*")}
        started_s, run_id, over = time.time(), self.train(), threading.Event()
        self.rater.client = self.client
        rating = threading.Thread(target=self.rater.rate_until, args=(over,))
        rating.start()
        self.timeline.wait_for(part, self.events_of(run_id), started_s)
        before = ask(self.client, run_id)
        cut_off(self.studio, run_id, with_studio=with_studio)
        over.set()
        rating.join()
        early = adapter_of(self.studio.data_dir, there)
        if with_studio:
            self.studio.start()
            self.connect()
        state = wait(self.client, run_id)
        if state["status"] != "done":
            self.client.predict({"resume": run_id}, api_name="/train")
            state = wait(self.client, run_id)
        return {
            "at": f"{before['phase'] or before['status']} {before['step'] or 0}" if before["status"] != "done" else "the end",
            "resumed": state["status"] == "done",
            "error": state["error"],
            "same": (early or adapter_of(self.studio.data_dir, there)) == self.sha256,
            "lost": self.rater.lost(self.client),
        }


def main() -> None:
    """Run the points, print each and the sum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=20)
    parser.add_argument("--seed", type=int, default=7)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, RunningStudio(Path(folder) / "data", starter_models()) as studio:
        bench = Bench(studio, random.Random(chosen.seed))
        bench.begin(Path(folder))
        found = []
        for number in range(chosen.points):
            with_studio = number % 2 == 1
            part = (number + bench.random.random()) / chosen.points
            one = bench.point(part, with_studio=with_studio)
            found.append(one)
            what = "child and studio" if with_studio else "child"
            end = "done" if one["resumed"] else one["error"]
            print(f"{number + 1:2}. {what:<16} killed at {one['at']:<12} → {end}", flush=True)
        resumed, same, lost = (sum(one[name] for one in found) for name in ("resumed", "same", "lost"))
        print(
            f"resumed {resumed}/{len(found)}, with the same weights as undisturbed {same}/{len(found)}, "
            f"acknowledged ratings lost {lost} of {bench.rater.count}"
        )


if __name__ == "__main__":
    main()
