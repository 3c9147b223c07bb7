"""diffusers and transformers as a studio wants them on its terminal: no bars, no advice about packages that pictures do not need.

Asked before the modules that import them are. Knows their logging; knows no model.
"""

from __future__ import annotations


def quiet() -> None:
    """Errors only, and no progress bars; harmless twice."""
    import diffusers
    import transformers

    for logging in (diffusers.utils.logging, transformers.utils.logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
