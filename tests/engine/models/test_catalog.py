"""The shipped catalogue and the forms of a source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.errors import BadFileError, NoModelError
from engine.image.drawing import MULTIPLE, drawing_of
from engine.image.schedulers import KNOWN
from engine.models.catalog import (
    STARTER_ENCODER_ID,
    STARTER_IMAGE_ID,
    STARTER_TEXT_ID,
    AssetsSource,
    HubSource,
    LocalSource,
    ServerSource,
    WheelSource,
    load_catalog,
    parse_source,
)
from tests.starter import starter_catalog


def test_starters_come_from_packages_and_every_file_has_a_hash() -> None:
    catalog = starter_catalog()
    text, encoder = catalog.get(STARTER_TEXT_ID), catalog.get(STARTER_ENCODER_ID)
    assert text.is_starter and encoder.is_starter and (text.task, encoder.task) == ("text", "embedding")
    for spec in (text, encoder):
        assert isinstance(parse_source(spec.source), WheelSource) and spec.sha256
        assert all(re.fullmatch(r"[0-9a-f]{64}", value) for value in spec.sha256.values())


def test_every_row_is_complete_and_hub_rows_are_pinned_to_a_commit() -> None:
    for spec in starter_catalog().list():
        assert spec.name and spec.licence and spec.languages and spec.description and spec.context_length
        assert 0 < spec.download_bytes and 0 < spec.size_bytes and 0 < spec.memory_bytes and spec.min_memory_bytes
        assert set(spec.recommended_for) <= {"cpu", "gpu"} and spec.recommended_for
        is_float32 = spec.task == "embedding" or spec.family == "sticker"
        assert spec.memory_on("cuda") == spec.memory_on("cpu") // (1 if is_float32 else 2)
        source = parse_source(spec.source)
        if isinstance(source, HubSource):
            assert re.fullmatch(r"[0-9a-f]{40}", source.revision)


def test_image_rows_say_what_they_draw_and_the_starter_comes_with_the_studio() -> None:
    catalog = starter_catalog()
    starter = catalog.get(STARTER_IMAGE_ID)
    assert starter.is_starter and not starter.is_stored and isinstance(parse_source(starter.source), AssetsSource)
    assert starter.needs == (STARTER_ENCODER_ID,) and {"en", "zh"} <= set(starter.languages)
    for spec in catalog.list("image"):
        drawing = drawing_of(spec.drawing)
        assert set(spec.drawing) and drawing.schedulers and drawing.steps["fast"] <= drawing.steps["balanced"]
        assert all(wide % MULTIPLE == 0 and high % MULTIPLE == 0 for wide, high in drawing.sizes)
        assert max(max(size) for size in (*drawing.sizes, (drawing.width, drawing.height))) <= drawing.max_side
    assert {name for spec in catalog.list("image") for name in drawing_of(spec.drawing).schedulers} <= KNOWN
    with pytest.raises(ValueError, match="colour"):
        drawing_of({"colour": 1})


def test_there_is_one_for_chinese() -> None:
    assert any("zh" in spec.languages for spec in starter_catalog().list("text"))


def test_unknown_ids_are_an_error_or_none() -> None:
    catalog = starter_catalog()
    assert catalog.find("gpt-9") is None
    with pytest.raises(NoModelError, match="gpt-9"):
        catalog.get("gpt-9")


def test_sources_come_apart() -> None:
    assert parse_source("wheel:a==1.2:b/c.gguf") == WheelSource("a", "1.2", "b/c.gguf")
    assert parse_source("hub:org/name@abc") == HubSource("org/name", "abc")
    assert parse_source("hub:org/name") == HubSource("org/name", "main")
    assert parse_source("local:/some/ünïcode folder") == LocalSource(Path("/some/ünïcode folder"))
    assert parse_source("openai:http://127.0.0.1:1/v1/#qwen:7b") == ServerSource("http://127.0.0.1:1/v1", "qwen:7b")
    assert parse_source("assets:models/x") == AssetsSource("models/x")


@pytest.mark.parametrize("source", ["", "wheel:a:b", "hub:name", "ftp:x", "openai:http://x", "openai:file:///etc#m", "local:"])
def test_other_forms_are_refused(source: str) -> None:
    with pytest.raises(ValueError, match="source"):
        parse_source(source)


@pytest.mark.parametrize(
    "text",
    [
        "models: 3",
        "models:\n  - {id: a}",
        "models:\n  - !!python/object/apply:os.system [true]",
        "models:\n  - {id: a, name: A, task: dance, family: x, source: 'local:/x'}",
        "models:\n  - {id: a, name: A, task: text, family: x, source: 'local:/x', surprise: 1}",
        "models:\n" + "  - {id: a, name: A, task: text, family: x, source: 'local:/x'}\n" * 2,
        "\x00",
    ],
)
def test_a_damaged_catalogue_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadFileError, match="models.yaml"):
        load_catalog(path)
