"""The summary endpoints from outside: what they answer, what they keep, and one sentence for each refusal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError

from tests.ui.served import Served, serve

MILL = (
    "The old mill at Harrow burned down on Tuesday night. Nobody was hurt in the fire. The owner, Vera Lind, had sold the "
    "building to the council for 40,000 crowns in March. The council wants to build a library where the mill stood."
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("summaries")) as running:
        yield running


def test_a_summary_leads_back_to_its_text(served: Served) -> None:
    made = served.call("summarize", MILL, None, {"length": {"sentences": 1}, "reference": "The mill burned down.", "seed": 3})
    (sentence,) = made["sentences"]
    assert made["summary"] == sentence["text"] and sentence["supported"] and sentence["flags"] == []
    source = sentence["sources"][0]
    assert MILL[source["start"] : source["end"]].strip() == made["summary"]
    assert made["documents"][0]["words"] == 44 and made["scores"]["rouge_1"] is not None and made["seed"] == 3
    found = served.call("library", "", {"kind": "summary"}, 1)
    assert found["items"][0]["id"] == made["creation_id"] and found["items"][0]["text"] == made["summary"]


def test_files_are_read_and_versions_need_none(served: Served, tmp_path: Path) -> None:
    path = tmp_path / "mill.txt"
    path.write_text(MILL, encoding="utf-16")
    made = served.call(
        "summarize", None, [handle_file(str(path))], {"style": "bullets", "length": {"sentences": 2}, "format": "text"}
    )
    assert made["summary"].count("• ") == 2 and made["documents"][0]["name"] == "mill.txt"
    other = served.call(
        "summarize", None, None, {"parent_id": made["creation_id"], "method": "abstractive", "model": served.model_id}
    )
    assert other["documents"] == made["documents"] and other["model"] == served.model_id
    assert not any(sentence["supported"] for sentence in other["sentences"])
    assert served.call("prefer", made["creation_id"], other["creation_id"], None)["preference_ids"]
    edited = served.call("edit", made["creation_id"], "The mill burned down.")
    assert edited["preference_id"]


def test_several_seeds_of_the_same_settings_are_versions_of_one_turn(served: Served) -> None:
    options = {"method": "abstractive", "model": served.model_id, "length": {"words": 8}, "n": 3, "seed": 5}
    made = served.call("summarize", MILL, None, options)
    ids, texts = made["creation_ids"], [one["summary"] for one in made["summaries"]]
    assert made["seeds"] == [5, 6, 7] and len(set(ids)) == len(set(texts)) == 3
    assert (made["creation_id"], made["seed"], made["summary"]) == (ids[0], 5, texts[0])
    assert made["sentences"] == made["summaries"][0]["sentences"] and all(one["sentences"] for one in made["summaries"])
    assert len(served.call("prefer", ids[1], [ids[0], ids[2]], None)["preference_ids"]) == 2
    found = {one["id"]: one for one in served.call("library", "", {"kind": "summary"}, 1)["items"]}
    assert [found[id]["seed"] for id in ids] == [5, 6, 7] and [found[id]["text"] for id in ids] == texts
    again = served.call("summarize", MILL, None, {**options, "n": 1, "seed": 6})
    assert again["summary"] == texts[1] and again["creation_ids"] == [again["creation_id"]] and again["seeds"] == [6]


def test_any_summary_is_judged(served: Served) -> None:
    right, wrong = served.call("check", MILL, "Nobody was hurt in the fire. It was sold for 90,000 crowns.")["sentences"]
    assert right["supported"] and not wrong["supported"] and wrong["flags"] == ["number"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((None, None, None), "bad_file"),
        ((" ", [], None), "bad_file"),
        ((MILL, None, {"length": "endless"}), "bad_option"),
        ((MILL, None, {"tone": "warm"}), "bad_option"),
        ((MILL, None, {"n": 2}), "bad_option"),
        ((MILL, None, {"method": "hybrid", "n": 5}), "bad_option"),
        ((MILL, None, {"method": "abstractive", "model": "nobody"}), "not_found"),
        ((None, None, {"parent_id": "0" * 32}), "not_found"),
        ((3, None, None), "bad_option"),
        ((None, ["/etc/passwd"], None), "bad_file"),
    ],
)
def test_a_refusal_is_one_sentence(served: Served, arguments: tuple[object, ...], code: str) -> None:
    with pytest.raises(AppError, match=rf"\[{code}\] [^\n]+$"):
        served.call("summarize", *arguments)
