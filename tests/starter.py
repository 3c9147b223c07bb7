"""The real starter models for tests and benches, fetched once through the studio's own code and kept between runs.

They lie in $TASTEMAKER_TEST_CACHE/models, by default ~/.cache/tastemaker-tests/models. Several processes may ask at once:
the store's lock lets one fetch and the others wait.
"""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path

from engine.device import choose_device
from engine.jobs.job import CancelToken
from engine.models.catalog import STARTER_ENCODER_ID, STARTER_TEXT_ID, Catalog, load_catalog
from engine.models.fetch import fetch
from engine.models.store import ModelStore
from engine.text.llama.prepared import read_facts
from engine.text.llama.preparing import prepare_in_child
from engine.text.local import LocalTextModel, load_local

CATALOG_PATH = Path(__file__).resolve().parent.parent / "assets" / "models.yaml"


def starter_catalog() -> Catalog:
    """The catalogue as shipped."""
    return load_catalog(CATALOG_PATH)


def cache_folder() -> Path:
    """Where what tests fetch is kept between runs."""
    root = os.environ.get("TASTEMAKER_TEST_CACHE")
    return Path(root) if root else Path.home() / ".cache" / "tastemaker-tests"


def starter_models() -> Path:
    """The models folder with both starters installed and the text model prepared; fetches what is missing (200 MB, once)."""
    folder = cache_folder() / "models"
    store, catalog = ModelStore(folder), starter_catalog()
    for model_id in (STARTER_TEXT_ID, STARTER_ENCODER_ID):
        spec = catalog.get(model_id)
        if store.state(spec) != "installed":
            with tempfile.TemporaryDirectory() as job_dir:
                fetch(spec, store, Path(job_dir), lambda event: None, CancelToken())
    text = catalog.get(STARTER_TEXT_ID)
    if read_facts(store.path(text), store.prepared_path(text)) is None:
        prepare_in_child(store.path(text), store.prepared_path(text), choose_device("cpu").threads, threading.Event())
    return folder


def starter_text_model(device: str = "cpu") -> LocalTextModel:
    """The starter text model, loaded; the caller closes it."""
    spec, store = starter_catalog().get(STARTER_TEXT_ID), ModelStore(starter_models())
    return load_local(spec, store.path(spec), choose_device(device), store.prepared_path(spec))
