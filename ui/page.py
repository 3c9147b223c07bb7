"""The head of our pages: theme before the first paint, words, scripts and styles. Knows files; knows no server and no service."""

from __future__ import annotations

import hashlib
import json
from functools import cache

from ui.i18n import ASSETS_DIR, HTML_LANGUAGE, messages

# These first; every other script and sheet of the folder follows, so that adding a widget is adding a file.
FIRST_SCRIPTS = ("core", "icons", "dialogs")
FIRST_STYLES = ("tokens", "frame")

# Runs before anything is painted, so that a dark page never flashes white, nor a deep link the wrong tab.
FIRST_PAINT = """(() => {
  const root = document.documentElement;
  root.dataset.language = %s;
  root.dataset.savedTheme = %s;
  let theme = null;
  try { theme = localStorage.getItem("tastemaker:theme"); } catch {}
  theme = theme || root.dataset.savedTheme;
  if (theme !== "light" && theme !== "dark") theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  root.dataset.theme = theme;
  const tab = new URLSearchParams(location.search).get("tab");
  root.dataset.page = ["images", "summarize", "library", "train", "arena", "models", "settings"].includes(tab) ? tab : "write";
})();"""

ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Crect width='32' height='32' rx='10' "
    "fill='%23b84a25'/%3E%3Cpath d='M16 17 6 27A14 14 0 0 1 5 8z' fill='%237d3a21'/%3E%3Cpath d='M16 17 26 5a14 14 0 0 1 3 14z' "
    "fill='%23e9b486'/%3E%3C/svg%3E"
)


@cache
def asset_version() -> str:
    """Changes whenever one of our scripts, styles or texts does, so that browsers may keep them for ever."""
    digest = hashlib.sha256()
    for path in sorted([*ASSETS_DIR.glob("js/*.js"), *ASSETS_DIR.glob("css/*.css"), *ASSETS_DIR.glob("i18n/*/*.json")]):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def page_head(language: str, theme: str) -> str:
    """Everything of ours inside <head>."""
    version = asset_version()
    styles = "".join(f'<link rel="stylesheet" href="/assets/css/{name}.css?v={version}">' for name in _names("css", FIRST_STYLES))
    scripts = "".join(f'<script defer src="/assets/js/{name}.js?v={version}"></script>' for name in _names("js", FIRST_SCRIPTS))
    return (
        f'<script>{FIRST_PAINT % (json.dumps(language), json.dumps(theme))}</script><link rel="icon" href="{ICON}">{styles}'
        f'<script defer src="/assets/words/{language}.js?v={version}"></script>{scripts}'
    )


def _names(kind: str, first: tuple[str, ...]) -> list[str]:
    others = sorted(path.stem for path in (ASSETS_DIR / kind).glob(f"*.{kind}") if path.stem not in first)
    return [*first, *others]


@cache
def words_script(language: str) -> str:
    """The page's texts as a script."""
    words = json.dumps(dict(messages(language)), ensure_ascii=False, separators=(",", ":"))
    return f"window.Tastemaker=window.Tastemaker||{{}};Tastemaker.words={words};"


def finish_html(html: str, language: str, theme: str) -> str:
    """Gradio's page with our head first and the right language; its own previews for social sites go."""
    html = html.replace('<html\n\tlang="en"', f'<html\n\tlang="{HTML_LANGUAGE[language]}"', 1)
    html = "\n".join(line for line in html.split("\n") if "gradio-app/gradio/main" not in line)
    return html.replace("<head>", f"<head>{page_head(language, theme)}", 1)
