"""The look of Gradio's own components (few are left in our pages), in our colours and system fonts. Fetches nothing.

Our widgets take their colours from assets/css/tokens.css; the figures here repeat the ones of the page's ground only.
"""

from __future__ import annotations

import gradio as gr

PAPER, PAPER_DARK = "#faf8f5", "#16171a"
INK, INK_DARK = "#1d1f23", "#ece9e4"
ACCENT, ACCENT_DARK = "#b84a25", "#e07a4f"
SANS = ("system-ui", "-apple-system", "Segoe UI", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "sans-serif")
MONO = ("ui-monospace", "Menlo", "Consolas", "DejaVu Sans Mono", "Noto Sans Mono CJK SC", "monospace")


def studio_theme() -> gr.themes.Base:
    """Base theme with our palette; plain strings as fonts mean system fonts, so nothing is loaded."""
    theme = gr.themes.Base(primary_hue="orange", neutral_hue="stone", radius_size="md", font=list(SANS), font_mono=list(MONO))
    return theme.set(
        body_background_fill=PAPER,
        body_background_fill_dark=PAPER_DARK,
        body_text_color=INK,
        body_text_color_dark=INK_DARK,
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#1e2024",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_shadow="none",
        button_primary_background_fill=ACCENT,
        button_primary_background_fill_dark=ACCENT_DARK,
    )
