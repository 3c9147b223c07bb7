"""Learning from outside: rate, freeze, test blindly, vote and promote over the API, on real storage and a scripted model.

The adapter's weights are bytes that only the scripted model pretends to use; training itself is tested where the real starter
model is (docs/learning.md's script, tests/ui/test_api_docs.py).
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError

from storage.records import LOCAL_OWNER
from tests.ui.served import Served, serve
from tests.ui.trained import WEIGHTS, add_adapter

SHOPS = "bakery bookshop barber florist cinema museum garage tailor brewery gallery bistro pharmacy".split()
PAIRS = [{"prompt": f"A tagline for a {shop}.", "chosen": f"Your {shop}!", "rejected": f"This is a {shop}."} for shop in SHOPS]
NAMES = {"wins", "losses", "ties", "win_rate", "interval", "gate", "automatic"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("learning")
    with serve(folder) as running:
        rows = folder / "pairs.jsonl"
        rows.write_text("\n".join(json.dumps(pair) for pair in PAIRS), encoding="utf-8")
        assert running.call("import", handle_file(str(rows)), None)["added"] > 0
        yield running


@pytest.fixture(scope="module")
def adapter_id(served: Served) -> str:
    return add_adapter(served.studio, served.model_id, "a" * 32)


def refused(served: Served, name: str, *arguments: Any) -> str:
    with pytest.raises(AppError) as caught:
        served.call(name, *arguments)
    return str(caught.value)


def matches(served: Served, run_id: str) -> Iterator[dict[str, Any]]:
    """Each comparison, once it is ready, until none is left."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        match = served.call("match", run_id)
        if match["match_id"]:
            yield match
        elif not match["remaining"]:
            return
        else:
            time.sleep(0.05)
    raise AssertionError("no more matches came")


def vote_all(served: Served, run_id: str, likes: str) -> dict[str, Any]:
    """Vote for the side that says `likes`; returns the result."""
    for match in matches(served, run_id):
        left, right = (likes in match[side].split() for side in ("left", "right"))
        served.call("vote", match["match_id"], "tie" if left == right else "left" if left else "right")
    result: dict[str, Any] = served.call("run", run_id)["result"]
    return result


def test_the_same_ratings_are_the_same_dataset(served: Served) -> None:
    first = served.call("dataset", {"kind": "dpo", "name": "Taglines"})
    assert set(first) == {"dataset_id", "sha256", "counts", "train", "held_out", "missing"}
    assert first["train"] + first["held_out"] == len(PAIRS) and first["held_out"] >= 2
    assert re.fullmatch("[0-9a-f]{64}", first["sha256"]) and first["missing"] == ["33 more pairs make a good start."]
    assert served.call("dataset", {"kind": "dpo"})["dataset_id"] == first["dataset_id"]


def test_a_dataset_is_exported_as_it_was_frozen(served: Served, tmp_path: Path) -> None:
    import zipfile

    frozen = served.call("dataset", {"kind": "dpo"})
    url = served.call("export", {"format": "dpo", "dataset": frozen["dataset_id"]})["url"]
    path = tmp_path / "dataset.zip"
    path.write_bytes(httpx.get(served.url + url).content)
    with zipfile.ZipFile(path) as archive:
        counts = {name: len(archive.read(f"{name}.jsonl").splitlines()) for name in ("rows", "held_out")}
    assert counts == {"rows": frozen["train"], "held_out": frozen["held_out"]}
    assert "[not_found]" in refused(served, "export", {"dataset": "0" * 32})


def test_too_little_is_refused_with_what_is_missing(served: Served) -> None:
    assert re.search(r"\[not_enough_data\].*\d", refused(served, "dataset", {"kind": "dpo", "filter": {"tag": "nothing"}}))
    assert "[not_enough_data]" in refused(served, "dataset", {"task": "image"})


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("dataset", [{"colour": "red"}]),
        ("dataset", [{"kind": "ppo"}]),
        ("dataset", [{"filter": {"colour": "red"}}]),
        ("train", [{"colour": "red"}]),
        ("train", [{"preset": "huge"}]),
        ("train", [{"recipe": "dpo", "settings": {"colour": 1}}]),
        ("train", [{"resume": "a" * 32, "preset": "quick"}]),
        ("train", [{"resume": 7}]),
        ("evaluate", ["a" * 32, {"n": 0}]),
        ("evaluate", [7, None]),
        ("match", [None]),
        ("vote", ["m", "middle"]),
        ("promote", ["a" * 32, {"colour": "red"}]),
        ("promote", ["a" * 32, {"task": "music"}]),
        ("promote", ["a" * 32, {"override": "  "}]),
    ],
)
def test_bad_options_are_one_sentence(served: Served, adapter_id: str, name: str, arguments: list[Any]) -> None:
    assert refused(served, name, *arguments).startswith("[bad_option] ")


def test_unknown_ids_are_not_found(served: Served) -> None:
    nobody = "0" * 32
    for name, arguments in (
        ("evaluate", [nobody, None]),
        ("match", [nobody]),
        ("vote", [nobody, "left"]),
        ("promote", [nobody, None]),
        ("train", [{"resume": nobody}]),
    ):
        assert "[not_found]" in refused(served, name, *arguments), name


def test_a_model_on_a_server_cannot_be_trained(served: Served) -> None:
    assert "[no_model]" in refused(served, "train", {"preset": "quick"})


def test_a_match_tells_nothing_but_two_texts(served: Served, adapter_id: str) -> None:
    run_id = served.call("evaluate", adapter_id, {"n": 6, "against": "base", "seed": 3})["run_id"]
    secrets = {adapter_id, hashlib.sha256(WEIGHTS).hexdigest(), served.model_id, "base", "candidate", "current", "adapter"}
    sides = []
    for match in matches(served, run_id):
        assert set(match) == {"match_id", "prompt", "left", "right", "remaining"}
        assert not [secret for secret in secrets if secret in json.dumps(match)]
        sides.append("left" if "you" in match["left"].split() else "right")
        early = served.call("run", run_id)["result"]
        assert early["gate"]["pass"] is None and not [name for name in NAMES - {"gate"} if early[name]]
        served.call("vote", match["match_id"], "tie")
    assert len(sides) == 6 and sides.count("left") == 3
    again = served.call("evaluate", adapter_id, {"n": 6, "against": "base", "seed": 4})["run_id"]
    assert again != run_id


def test_voting_again_replaces_the_vote_until_the_last_one(served: Served, adapter_id: str) -> None:
    run_id = served.call(
        "evaluate", adapter_id, {"n": 5, "against": "base", "prompts": [f"Prompt number {n}" for n in range(9)]}
    )["run_id"]
    seen = []
    for match in matches(served, run_id):
        seen.append(match["match_id"])
        assert served.call("vote", match["match_id"], "left") == {"votes": len(seen), "remaining": 5 - len(seen)}
        if len(seen) < 5:
            assert served.call("vote", match["match_id"], "bad") == {"votes": len(seen), "remaining": 5 - len(seen)}
    result = served.call("run", run_id)["result"]
    assert result["ties"] == 4 and result["wins"] + result["losses"] == 1 and result["gate"]["pass"] is False
    assert refused(served, "vote", seen[0], "left").startswith("[bad_option] ")
    assert served.call("run", run_id)["result"] == result


def test_a_version_takes_over_only_when_it_has_won_and_goes_back(served: Served, adapter_id: str) -> None:
    def writes_with() -> tuple[str, str]:
        written = served.call("write", "Say hello.", {"max_new_tokens": 4, "seed": 1})
        return written["adapter"], written["texts"][0]

    run_id = served.call("evaluate", adapter_id, {"n": 8, "seed": 9})["run_id"]
    lost = vote_all(served, run_id, likes="w2")
    assert lost["gate"]["pass"] is False and lost["losses"] == 8 and lost["interval"][1] < 0.5 and len(lost["worst"]) > 0
    assert re.match(r"\[gate\] .*50 %", refused(served, "promote", adapter_id, None))
    assert writes_with() == ("base", "seed1 w2 w3 w4")

    won = vote_all(served, served.call("evaluate", adapter_id, {"n": 8, "seed": 10})["run_id"], likes="you")
    assert won["gate"]["pass"] is True and won["wins"] == 8 and won["win_rate"] == 1.0
    assert won["automatic"]["candidate"]["words"] > 0
    assert served.call("promote", adapter_id, None) == {"task": "text", "promoted": adapter_id}
    assert writes_with() == (adapter_id, "seed1 you v3 v4")
    assert served.call("library", "", {"adapter": adapter_id}, 1)["total"] >= 1
    assert served.call("promote", "base", None) == {"task": "text", "promoted": "base"}
    assert writes_with() == ("base", "seed1 w2 w3 w4")


def test_a_gate_is_overruled_with_a_reason_that_is_kept(served: Served) -> None:
    untested = add_adapter(served.studio, served.model_id, "b" * 32, b"others")
    assert "[gate]" in refused(served, "promote", untested, None)
    assert served.call("promote", untested, {"override": "The customer asked for it."})["promoted"] == untested
    assert served.studio.adapters.history(LOCAL_OWNER)[0].override == "The customer asked for it."
    served.call("promote", "base", None)


def test_a_damaged_adapter_is_refused_never_replaced(served: Served) -> None:
    damaged = add_adapter(served.studio, served.model_id, "c" * 32, b"third")
    (served.studio.settings.adapters_dir / damaged / "adapter_model.safetensors").write_bytes(b"other bytes")
    for name, arguments in (
        ("write", ["Hello", {"adapter": damaged}]),
        ("evaluate", [damaged, None]),
        ("promote", [damaged, {"override": "x"}]),
    ):
        assert "[bad_file]" in refused(served, name, *arguments), name


def test_automatic_figures_need_no_votes(served: Served, adapter_id: str) -> None:
    run_id = served.call("evaluate", adapter_id, {"n": 4, "against": "base", "automatic_only": True})["run_id"]
    deadline = time.monotonic() + 30
    while (state := served.call("run", run_id))["status"] in ("queued", "running") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert state["status"] == "done" and state["result"]["wins"] is None and state["adapter_id"] == adapter_id
    assert set(state["result"]["automatic"]) >= {"candidate", "current"}
    match = served.call("match", run_id)
    assert match["match_id"] is None and match["remaining"] == 0


def test_an_adapter_for_summaries_is_tested_on_texts_and_writes_summaries_only(served: Served) -> None:
    report = "The old mill burned down on Tuesday. Nobody was hurt in the fire. The council will build a library there."
    trained = add_adapter(served.studio, served.model_id, "e" * 32, b"weights for summaries", task="summary")
    wish = {"method": "abstractive", "model": served.model_id, "length": {"words": 8}}
    assert served.call("summarize", report, None, wish)["adapter"] == "base"
    assert "[bad_option]" in refused(served, "write", "Hello.", {"adapter": trained})
    run_id = served.call("evaluate", trained, {"against": "base", "n": 2, "prompts": [report]})["run_id"]
    assert {match["prompt"] for match in matches(served, run_id) if served.call("vote", match["match_id"], "tie")} == {report}
    assert served.call("run", run_id)["result"]["ties"] == 2
    assert "[gate]" in refused(served, "promote", trained, {"task": "summary"})
    assert "[bad_option]" in refused(served, "promote", trained, {"task": "text", "override": "Only a test."})
    switched = served.call("promote", trained, {"override": "Only a test."})
    assert switched == {"task": "summary", "promoted": trained}
    assert served.call("summarize", report, None, wish)["adapter"] == trained
    assert served.call("write", "Hello.", {"max_new_tokens": 4})["adapter"] != trained
    assert served.call("promote", "base", {"task": "summary"})["promoted"] == "base"
    assert served.call("summarize", report, None, wish)["adapter"] == "base"
