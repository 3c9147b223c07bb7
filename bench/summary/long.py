"""A PDF of 100 pages and about 50,000 words through the whole studio: `python -m bench.summary.long [--pages 100]`.

Seconds from the click to the finished summary, extractive and abstractive, with the starter models; the text is the English
half of the evaluation set in turn. Knows gradio_client and docs/api.md.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import textwrap
import time
from pathlib import Path

from gradio_client import Client, handle_file
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from bench.summary.evaluation_set import examples
from tests.browser.studio import RunningStudio
from tests.starter import starter_models

WORDS_OF_A_PAGE = 500
METHODS = ("extractive", "abstractive")


def write_pdf(path: Path, pages: int) -> None:
    """So many pages of prose."""
    words = itertools.cycle(word for split in ("dev", "test") for one in examples(split, "en") for word in one.text.split())
    with PdfPages(path) as pdf:
        for _ in range(pages):
            page = Figure(figsize=(8.3, 11.7))
            text = " ".join(itertools.islice(words, WORDS_OF_A_PAGE))
            page.text(0.08, 0.95, textwrap.fill(text, 95), va="top", fontsize=9, parse_math=False)
            pdf.savefig(page)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=100)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, RunningStudio(Path(folder) / "data", starter_models()) as studio:
        path = Path(folder) / "long.pdf"
        write_pdf(path, asked.pages)
        client = Client(studio.url, verbose=False)
        for method in METHODS:
            started_s = time.monotonic()
            made = client.predict(None, [handle_file(path)], {"method": method}, api_name="/summarize")
            (document,) = made["documents"]
            took = f"{time.monotonic() - started_s:.1f} s"
            print(f"{method:12} {document['pages']} pages, {document['words']} words: {took}", flush=True)
            print(textwrap.shorten(made["summary"], 300))


if __name__ == "__main__":
    main()
