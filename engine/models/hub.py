"""`python -m engine.models.hub REPO REVISION FOLDER`: fetch one model of the Hugging Face hub, safetensors only, and check it.

The revision is resolved to a commit first; every file is of that commit and is compared with the hash that the hub lists
for it (sha256 for large files, the git blob id for small ones). Writes FOLDER/.revision.json with the commit when all is
there. A file that is whole already is kept. Never fetches code or pickles.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from pathlib import Path
from typing import Any

from engine.models.download_reasons import reason_of_exception

REVISION_FILE = ".revision.json"
_WANTED = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "chat_template.jinja", "chat_template.json", "model.safetensors.index.json", "LICENSE",
)  # fmt: skip

logger = logging.getLogger(__name__)


def main(repo: str, revision: str, folder: Path) -> int:
    """Fetch; print one line that begins with ERROR: and return 1 when it does not work."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        info = HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=20)
        files = [file for file in info.siblings or () if _is_wanted(file.rfilename)]
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
    sys.exit(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
