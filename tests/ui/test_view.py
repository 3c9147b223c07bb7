"""Answers as HTML: what a model or a user wrote never becomes anything but text and its formatting."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from engine.jobs.job import JobSnapshot
from ui.i18n import translator
from ui.view import fraction_of, job_text, markdown

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[a](javascript:alert(1))",
    "[a](https://evil.example/?q=1)",
    "![a](https://evil.example/?q=1)",
    "<https://evil.example>",
    "<style>body{display:none}</style>",
    "[a]: https://evil.example\n\n[a]",
    "```\n</code></pre><script>alert(1)</script>\n```",
    '| a |\n|---|\n| <b onclick="x()">b</b> |',
)


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_runs_and_nothing_is_fetched(text: str) -> None:
    for tag in re.findall(r"<[^>]*>", markdown(text)):
        assert re.fullmatch(r"</?(p|pre|code|table|thead|tbody|tr|th|td|strong|em)>", tag), tag


def test_a_link_is_shown_with_its_address() -> None:
    assert markdown("See [the page](https://example.org/x).") == "<p>See the page (https://example.org/x).</p>\n"
    assert "https://example.org/x" in markdown("![A cat](https://example.org/x)")


def test_formatting_is_kept() -> None:
    html = markdown("# Title\n\n3. *one*\n4. **two**\n\n```python\nx < 1\n```\n\n| a | b |\n|---|--:|\n| 1 | 2 |")
    for wanted in ("<h1>Title</h1>", '<ol start="3">', "<em>one</em>", "<strong>two</strong>", "x &lt; 1", "<td"):
        assert wanted in html


@pytest.mark.parametrize(
    ("progress", "fraction"),
    [({}, None), ({"step": 1, "total": 0}, None), ({"step": 1, "total": 4}, 0.25), ({"step": 9, "total": 4}, 1.0)],
)
def test_a_fraction_is_between_nothing_and_all(progress: dict[str, int], fraction: float | None) -> None:
    assert fraction_of(progress) == fraction


def test_a_job_says_what_it_does_in_the_page_s_language() -> None:
    job = JobSnapshot("j", 1, "download", "running", {"step": 43, "total": 100}, {}, None, None, None)
    assert job_text(job, translator("en")) == "downloading 43 %"
    assert job_text(job, translator("zh")).endswith("下载中 43%")
    preparing = replace(job, kind="train", progress={"phase": "prepare", "step": 43, "total": 100})
    assert job_text(preparing, translator("en")) == "training"
