"""An adapter as a training would leave it, folder and row, for tests of what surrounds one. Its weights are any bytes."""

from __future__ import annotations

import hashlib

from engine.studio import Studio
from storage.database import open_database
from storage.records import LOCAL_OWNER, Kind

WEIGHTS = b"weights"


def add_adapter(studio: Studio, base_model_id: str, adapter_id: str, weights: bytes = WEIGHTS, *, task: Kind = "text") -> str:
    """Add it to a running studio; returns its id. Only a scripted model can pretend to use it."""
    folder = studio.settings.adapters_dir / adapter_id
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(weights)
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    database = open_database(studio.settings.database_url, backup_dir=studio.settings.backups_dir)
    try:
        with database.write() as uow:
            uow.adapters.add(
                LOCAL_OWNER,
                id=adapter_id,
                task=task,
                name="Short and direct",
                base_model_id=base_model_id,
                base_sha256="0" * 64,
                method="dpo",
                recipe="dpo",
                sha256=hashlib.sha256(weights).hexdigest(),
                size_bytes=len(weights),
                metrics={},
            )
            uow.commit()
    finally:
        database.close()
    return adapter_id
