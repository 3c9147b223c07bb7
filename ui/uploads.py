"""Files that a page has uploaded: a path from the page is only believed when Gradio's own upload put a file there.

Knows Gradio's upload folder; knows no service.
"""

from __future__ import annotations

from pathlib import Path

from gradio.utils import get_upload_folder

from engine.errors import BadFileError


def uploaded_file(path: object) -> Path:
    """The uploaded file. Raises BadFileError for anything outside the upload folder or missing."""
    if isinstance(path, str) and path and "\0" not in path:
        root = Path(get_upload_folder()).resolve()
        file = Path(path).resolve()
        if file.is_relative_to(root) and file.is_file():
            return file
    raise BadFileError("The file did not arrive. Choose it again.", key="error.upload")
