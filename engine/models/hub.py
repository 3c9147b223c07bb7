"""`python -m engine.models.hub REPO REVISION FOLDER [pipeline]`: fetch one model of the Hugging Face hub, safetensors only.

The revision is resolved to a commit first; every file is of that commit and is compared with the hash that the hub lists
for it (sha256 for large files, the git blob id for small ones). Writes FOLDER/.revision.json with the commit when all is
there. A file that is whole already is kept. Of a diffusers pipeline the parts that its model_index.json names are fetched,
in half precision where there are both. Never fetches code or pickles.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from engine.models.download_reasons import reason_of_exception
from engine.models.folder import read_json
from engine.models.pipeline_folder import INDEX, parts_of, weight_files

REVISION_FILE = ".revision.json"
_WANTED = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "chat_template.jinja", "chat_template.json", "model.safetensors.index.json", "LICENSE",
)  # fmt: skip

_SMALL = (".json", ".txt", ".model", ".jinja")
"""Endings of configs and tokenizers inside a part's folder."""

logger = logging.getLogger(__name__)


def main(repo: str, revision: str, folder: Path, form: str = "") -> int:
    """Fetch; print one line that begins with ERROR: and return 1 when it does not work."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        info = HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=20)
        names = [file.rfilename for file in info.siblings or ()]
        wanted = set(names) & {name for name in names if _is_wanted(name)}
        if form == "pipeline":
            index = hf_hub_download(repo, INDEX, revision=info.sha, local_dir=folder) if INDEX in names else None
            wanted = pipeline_files(names, parts_of(read_json(Path(index))) if index else ())
        files = [file for file in info.siblings or () if file.rfilename in wanted]
        if not any(file.rfilename.endswith(".safetensors") for file in files):
            return _fail(f"{repo} has no safetensors")
        for file in files:
            path = folder / file.rfilename
            if path.is_file() and _is_whole(path, file):
                continue
            hf_hub_download(repo, file.rfilename, revision=info.sha, local_dir=folder)
            if not _is_whole(path, file):
                path.unlink()
                return _fail(f"{file.rfilename} arrived damaged")
    except GatedRepoError:
        return _fail(f"{repo} asks for an agreement first: accept it on the hub and set HF_TOKEN")
    except RepositoryNotFoundError:
        return _fail(f"the hub has no {repo}")
    except Exception as error:
        # The edge of this process: the transport's own errors change with the library that is below it.
        logger.exception("fetching %s", repo)
        return _fail(reason_of_exception(error))
    (folder / REVISION_FILE).write_text(json.dumps({"revision": info.sha}), encoding="utf-8")
    return 0


def pipeline_files(names: Collection[str], parts: Collection[str]) -> set[str]:
    """Of a repository's files those that a pipeline with these parts is made of."""
    wanted = {name for name in names if name in (INDEX, "LICENSE", "LICENSE.md")}
    for part in parts:
        inside = [name.rpartition("/")[2] for name in names if name.rpartition("/")[0] == part]
        small = [name for name in inside if name.endswith(_SMALL)]
        wanted.update(f"{part}/{name}" for name in (*small, *weight_files(inside)))
    return wanted


def _is_wanted(name: str) -> bool:
    return name in _WANTED or ("/" not in name and name.endswith(".safetensors"))


def _is_whole(path: Path, file: Any) -> bool:
    if file.size is not None and path.stat().st_size != file.size:
        return False
    if file.lfs is not None:
        digest = hashlib.sha256()
        wanted = file.lfs.sha256
    else:
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
        wanted = file.blob_id
    with path.open("rb") as data:
        while chunk := data.read(4 * 2**20):
            digest.update(chunk)
    return bool(digest.hexdigest() == wanted)


def _fail(reason: str) -> int:
    sys.stdout.write(f"ERROR: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *sys.argv[4:5]))
