"""Cards, downloads as jobs (a real child, a real pip, a wheel in a folder), defaults, added models, keys."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from filelock import FileLock

from engine.device import Hardware, choose_device
from engine.errors import BadFileError, BadOptionError, BusyError, NoModelError, NotFoundError
from engine.image.drawing import drawing_of
from engine.jobs.runner import JobRunner
from engine.models.catalog import STARTER_ENCODER_ID, STARTER_TEXT_ID, Catalog, ModelSpec
from engine.models.pipeline_folder import inspect_pipeline
from engine.models.store import ModelStore
from engine.services import model_card
from engine.services.jobs import RowJobStore
from engine.services.model_list import ModelList
from engine.services.models import ModelService
from engine.services.secret import SecretFile
from engine.settings import Settings
from storage.database import Database
from tests.engine.image.tiny_pipelines import write_stable_diffusion_3
from tests.engine.services.library_parts import OWNER, opened
from tests.starter import starter_catalog

DEADLINE_S = 60.0
KEY = "sk-very-secret-0123456789"


class FakeHost:
    """Says what is in memory, and keeps what it was told."""

    def __init__(self) -> None:
        self.models: list[ModelSpec] = []
        self.warmed: list[str] = []

    def loaded(self) -> tuple[ModelSpec, ...]:
        return tuple(self.models)

    def need_bytes(self, spec: ModelSpec) -> int:
        return spec.memory_on("cpu")

    def unload(self, model_id: str) -> None:
        self.models = [model for model in self.models if model.id != model_id]

    def warm(self, model_id: str) -> None:
        self.warmed.append(model_id)


def write_encoder(folder: Path) -> None:
    """The smallest folder that passes for an encoder."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "max_position_embeddings": 16}))
    (folder / "tokenizer.json").write_text("{}")
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))


def write_writer(folder: Path) -> Path:
    """The smallest folder that passes for a text model."""
    write_encoder(folder)
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "max_position_embeddings": 64}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def make_wheel(folder: Path, source: Path) -> None:
    folder.mkdir()
    info = "tiny_encoder-1.0.dist-info"
    with zipfile.ZipFile(folder / "tiny_encoder-1.0-py3-none-any.whl", "w") as wheel:
        for path in sorted(source.iterdir()):
            wheel.write(path, f"tiny_encoder/model/{path.name}")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-encoder\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


@dataclass
class Shop:
    """A model service and what it stands on."""

    service: ModelService
    store: ModelStore
    host: FakeHost
    runner: JobRunner
    database: Database
    settings: Settings
    encoder: ModelSpec
    models: ModelList

    def state(self, model_id: str) -> str:
        return next(card.state for card in self.service.cards() if card.id == model_id)

    def card(self, model_id: str):  # type: ignore[no-untyped-def]
        return next(card for card in self.service.cards() if card.id == model_id)


def open_shop(folder: Path, database: Database, **settings: object) -> Shop:
    """A service over `folder`; the catalogue has one tiny encoder and a text model that nothing can fetch."""
    source = folder / "source"
    if not source.exists():
        write_encoder(source)
        make_wheel(folder / "wheels", source)
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in source.iterdir()}
    encoder = ModelSpec(
        STARTER_ENCODER_ID, "Tiny encoder", "embedding", "bert", "wheel:tiny-encoder==1.0:tiny_encoder/model",
        sha256=hashes, download_bytes=1000, size_bytes=1000, memory_bytes=1000, recommended_for=("cpu", "gpu"), licence="MIT",
    )  # fmt: skip
    text = replace(encoder, id=STARTER_TEXT_ID, name="Tiny writer", task="text", source="wheel:no-such-wheel==1.0:x/model")
    huge = replace(text, id="huge", name="Huge", memory_bytes=10**15)
    made = Settings(data_dir=folder / "data", models_dir=folder / "models", **settings)  # type: ignore[arg-type]
    made.data_dir.mkdir(exist_ok=True)
    models = ModelList(Catalog((text, encoder, huge)), database, SecretFile(made.secrets_path))
    host, store, runner = FakeHost(), ModelStore(made.models_dir), JobRunner(RowJobStore(database))
    service = ModelService(models, store, host, runner, database, made, choose_device("cpu"))
    return Shop(service, store, host, runner, database, made, encoder, models)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with opened(tmp_path) as database:
        yield database


@pytest.fixture
def shop(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    made = open_shop(tmp_path, database)
    yield made
    made.runner.shutdown(10)


def finish(shop: Shop, job_id: str):  # type: ignore[no-untyped-def]
    snapshot = shop.runner.wait(job_id, DEADLINE_S)
    assert snapshot is not None and snapshot.is_final
    return snapshot


@pytest.mark.parametrize(
    ("gpu_gb", "fits", "is_recommended"), [(24, True, True), (16, True, False), (8, True, False), (5, False, False)]
)
def test_a_gpu_that_holds_a_model_with_fewer_bits_only_fits_and_is_not_recommended(
    gpu_gb: int, *, fits: bool, is_recommended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_card, "can_round", lambda device_kind: True)
    spec = starter_catalog().get("qwen3-8b")
    size = gpu_gb * 10**9
    machine = Hardware("cuda:0", "a CPU", 8, 64 * 10**9, 60 * 10**9, "a GPU", size, size)
    card = model_card.make_card(spec, state="missing", machine=machine)
    assert (card.fits, card.is_recommended) == (fits, is_recommended)


def test_cards_say_what_there_is_and_what_fits(shop: Shop) -> None:
    card = shop.card(STARTER_ENCODER_ID)
    assert (card.state, card.is_default, card.fits, card.is_recommended, card.loaded) == ("missing", True, True, True, False)
    assert card.licence == "MIT" and card.progress is None and card.error is None
    huge = shop.card("huge")
    assert not huge.fits and not huge.is_recommended
    assert "1000000.0 GB" in huge.fits_reason and "this machine has" in huge.fits_reason
    assert shop.service.hardware().ram_bytes > 0


def test_getting_a_model_installs_it_verified_and_removing_takes_it_away(shop: Shop) -> None:
    job_id = shop.service.get(OWNER, STARTER_ENCODER_ID)
    snapshot = finish(shop, job_id)
    assert snapshot.status == "done", snapshot.error
    assert shop.state(STARTER_ENCODER_ID) == "installed"
    shop.service.verify(STARTER_ENCODER_ID)
    assert shop.service.require(STARTER_ENCODER_ID).id == STARTER_ENCODER_ID
    assert not (shop.settings.runs_dir / job_id).exists()
    shop.service.remove(STARTER_ENCODER_ID)
    assert shop.state(STARTER_ENCODER_ID) == "missing"


def test_a_damaged_model_is_found_by_getting_it_again(shop: Shop) -> None:
    finish(shop, shop.service.get(OWNER, STARTER_ENCODER_ID))
    weights = shop.store.path(shop.encoder) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    snapshot = finish(shop, shop.service.get(OWNER, STARTER_ENCODER_ID))
    assert snapshot.status == "failed" and "damaged" in str(snapshot.error)


def test_a_download_runs_once_says_how_far_it_is_and_can_be_cancelled(shop: Shop) -> None:
    with FileLock(shop.store.lock_path(shop.encoder)):  # somebody else holds the model: the child waits
        job_id = shop.service.get(OWNER, STARTER_ENCODER_ID)
        assert shop.service.get(OWNER, STARTER_ENCODER_ID) == job_id
        card = shop.card(STARTER_ENCODER_ID)
        assert card.job_id == job_id and card.progress is not None
        with pytest.raises(NoModelError, match="being downloaded"):
            shop.service.require(STARTER_ENCODER_ID)
        with pytest.raises(BusyError):
            shop.service.remove(STARTER_ENCODER_ID)
        assert shop.service.cancel_get(OWNER, STARTER_ENCODER_ID)
        assert finish(shop, job_id).status == "cancelled"
    assert shop.state(STARTER_ENCODER_ID) != "installed"
    assert shop.card(STARTER_ENCODER_ID).job_id is None
    assert finish(shop, shop.service.get(OWNER, STARTER_ENCODER_ID)).status == "done"


def test_a_failed_download_says_why_on_its_card_until_the_next_try(shop: Shop) -> None:
    snapshot = finish(shop, shop.service.get(OWNER, STARTER_TEXT_ID))
    assert snapshot.status == "failed"
    card = shop.card(STARTER_TEXT_ID)
    assert card.error == snapshot.error and card.error and card.state != "installed"
    with pytest.raises(NoModelError, match="not installed"):
        shop.service.require(STARTER_TEXT_ID)


def test_an_interrupted_download_starts_again_with_the_next_studio(shop: Shop, tmp_path: Path, database: Database) -> None:
    with FileLock(shop.store.lock_path(shop.encoder)):
        job_id = shop.service.get(OWNER, STARTER_ENCODER_ID)
        shop.runner.shutdown(10)
        snapshot = shop.runner.snapshot(job_id)
        assert snapshot is not None and snapshot.status == "interrupted"
    second = open_shop(tmp_path, database)
    jobs = second.service.ensure_starters(OWNER)
    assert len(jobs) == 2 and job_id not in jobs
    assert {finish(second, job).status for job in jobs} == {"done", "failed"}
    assert second.state(STARTER_ENCODER_ID) == "installed"
    again = open_shop(tmp_path, database)
    assert len(again.service.ensure_starters(OWNER)) == 1  # only the one that is still missing
    again.runner.shutdown(10)


def test_offline_gets_nothing_and_says_what_to_do(tmp_path: Path, database: Database) -> None:
    shop = open_shop(tmp_path, database, offline=True)
    assert shop.service.ensure_starters(OWNER) == ()
    for ask in (lambda: shop.service.get(OWNER, STARTER_TEXT_ID), lambda: shop.service.require(STARTER_TEXT_ID)):
        with pytest.raises(NoModelError, match="without --offline"):
            ask()


def test_defaults_are_the_starters_until_another_is_chosen(shop: Shop, tmp_path: Path) -> None:
    assert shop.service.default("text") == STARTER_TEXT_ID
    added = shop.service.add_local(OWNER, write_writer(tmp_path / "mine"), "Mine")
    shop.service.set_default(OWNER, "text", added.id)
    assert shop.service.default("text") == added.id
    assert [card.id for card in shop.service.cards() if card.is_default and card.task == "text"] == [added.id]
    shop.service.remove_added(OWNER, added.id)
    assert shop.service.default("text") == STARTER_TEXT_ID
    with pytest.raises(BadOptionError):
        shop.service.set_default(OWNER, "text", STARTER_ENCODER_ID)
    with pytest.raises(BadOptionError):
        shop.service.default("cooking")
    with pytest.raises(NotFoundError):
        shop.service.set_default(OWNER, "text", "no-such-model")


def test_a_diffusers_pipeline_of_the_user_s_own_is_a_model_that_draws(shop: Shop, tmp_path: Path) -> None:
    folder = write_stable_diffusion_3(tmp_path / "mine")
    card = shop.service.add_local(OWNER, folder, "Mine")
    assert (card.task, card.family, card.state, card.is_added) == ("image", "StableDiffusion3Pipeline", "installed", True)
    assert card.memory_bytes == 4 * inspect_pipeline(folder).parameters and card.size_bytes > 0
    drawing = drawing_of(shop.service.require(card.id).drawing)
    assert (drawing.width, drawing.height, drawing.max_side) == (64, 64, 128)
    assert drawing.schedulers == ("euler", "heun", "dpm++", "unipc")
    shop.service.set_default(OWNER, "image", card.id)
    assert shop.service.default("image") == card.id
    with shop.database.write() as uow:
        for number, odd in enumerate(({"colour": 1}, {"size": 5}, {"steps": {}}, "x", {"sizes": [[1]]})):
            uow.models.add(OWNER, name=f"Odd {number}", task="image", source="local:/x", config={"drawing": odd})
        uow.commit()
    assert [spec.drawing for spec in shop.service.specs() if spec.name.startswith("Odd")] == [{}] * 5
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").rename(folder / "transformer" / "pytorch_model.bin")
    with pytest.raises(BadFileError, match="pickled"):
        shop.service.add_local(OWNER, folder)


def test_a_local_folder_is_used_where_it_is_and_never_deleted(shop: Shop, tmp_path: Path) -> None:
    folder = write_writer(tmp_path / "мой model 模型")
    card = shop.service.add_local(OWNER, folder)
    assert (card.name, card.state, card.is_added, card.context_length) == (folder.name, "installed", True, 64)
    assert shop.models.get(card.id).source == f"local:{folder}"
    shop.host.models = [shop.models.get(card.id)]
    shop.service.remove(card.id)
    assert (folder / "model.safetensors").is_file() and shop.host.models == []
    with pytest.raises(NotFoundError):
        shop.service.require(card.id)


def test_folders_with_code_pickles_or_nothing_are_refused(shop: Shop, tmp_path: Path) -> None:
    code = write_writer(tmp_path / "code")
    (code / "config.json").write_text(json.dumps({**json.loads((code / "config.json").read_text()), "auto_map": {"x": "y.Z"}}))
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    for folder in (code, pickled, tmp_path / "nowhere", tmp_path / "a\0b"):
        with pytest.raises(BadFileError):
            shop.service.add_local(OWNER, folder)
    assert len(shop.service.cards()) == 3


def test_a_servers_key_is_only_in_the_file_that_only_the_user_reads(shop: Shop, tmp_path: Path) -> None:
    card = shop.service.add_server(OWNER, "My server", "http://127.0.0.1:11434/v1/", "qwen", KEY)
    assert card.source == "openai:http://127.0.0.1:11434/v1#qwen" and card.state == "installed"
    assert shop.models.key(card.id) == KEY
    assert stat.S_IMODE(shop.settings.secrets_path.stat().st_mode) == 0o600
    assert KEY not in repr(card) + repr(shop.models.get(card.id)) + repr(shop.models.__dict__)
    for path in tmp_path.rglob("*"):
        if path.is_file() and path != shop.settings.secrets_path:
            assert KEY.encode() not in path.read_bytes(), path
    with pytest.raises(BadOptionError):
        shop.service.get(OWNER, card.id)
    shop.service.remove_added(OWNER, card.id)
    assert KEY not in shop.settings.secrets_path.read_text()


def test_nothing_is_sent_to_a_server_that_came_with_a_bundle(shop: Shop) -> None:
    card = shop.service.add_server(OWNER, "Mine", "http://127.0.0.1:1/v1", "m")
    shop.service.set_default(OWNER, "text", card.id)
    assert shop.service.require(card.id).id == card.id and shop.models.key(card.id) is None
    shop.settings.secrets_path.unlink()  # as in a studio that got the row, but never the keys
    with pytest.raises(NoModelError, match="imported bundle"):
        shop.service.require(card.id)
    assert shop.card(card.id).state == "missing"
    assert shop.service.default("text") == STARTER_TEXT_ID
    shop.service.remove_added(OWNER, card.id)
    assert len(shop.service.cards()) == 3


@pytest.mark.parametrize(
    "url",
    ["", "ftp://host/v1", "javascript:alert(1)", "http://", "http://user:pass@host/v1", "http://h/v1?key=1", "http://h:99999/v1"],
)
def test_addresses_that_are_none_are_refused(shop: Shop, url: str) -> None:
    with pytest.raises(BadOptionError):
        shop.service.add_server(OWNER, "x", url, "model", "")
    assert len(shop.service.cards()) == 3


def test_a_damaged_key_file_is_one_sentence_and_stays(shop: Shop) -> None:
    shop.settings.secrets_path.write_text("{")
    with pytest.raises(BadFileError, match="damaged"):
        shop.service.add_server(OWNER, "x", "http://127.0.0.1:1/v1", "model", KEY)
    assert shop.settings.secrets_path.read_text() == "{"
    assert len(shop.service.cards()) == 3


def test_unknown_ids_are_not_found_everywhere(shop: Shop) -> None:
    for ask in (
        lambda: shop.service.get(OWNER, "nope"),
        lambda: shop.service.remove("nope"),
        lambda: shop.service.require("nope"),
        lambda: shop.service.remove_added(OWNER, STARTER_TEXT_ID),
        lambda: shop.service.verify("x" * 5000),
    ):
        with pytest.raises(NotFoundError):
            ask()


def test_warming_loads_an_installed_default_and_nothing_else(shop: Shop, tmp_path: Path) -> None:
    shop.service.warm()
    assert shop.host.warmed == []
    added = shop.service.add_local(OWNER, write_writer(tmp_path / "mine"))
    shop.service.set_default(OWNER, "text", added.id)
    shop.service.warm()
    assert shop.host.warmed == [added.id]
