"""Our own widgets inside Gradio: one gr.HTML whose content is drawn by assets/js/<name>.js. Knows no service and no page.

How to make one
---------------
Python::

    def on_act(action: dict, request: gr.Request) -> dict: ...     # action = {"type": "search", ...}; returns any JSON value
    library = widget("library", elem_id="library", act=guarded(frame.language, on_act))

`guarded` (ui/handlers.py) turns errors into {"error": {...}}; core.js then shows a toast and rejects the promise.
`act` runs in a worker thread (def) or on the loop (async def); it keeps no state: send ids along in the action.

JavaScript, assets/js/library.js (a classic script; every file of assets/js and assets/css is loaded, core.js first)::

    Tastemaker.widgets.library = (host) => {
      const { h, t, icon } = Tastemaker;
      host.root                                    // the element to draw in
      host.value; host.onValue((value) => ...)     // the gr.HTML's value, when an event of Python sets it (optional)
      const page = await host.act("search", { query });   // -> on_act({"type": "search", "query": ...}); throws after a toast
      host.onOpen(() => ...);                      // this widget's page was opened (also at once if it is the open one)
      host.trigger("follow", { job_id });          // a Gradio event, for streams: list its name in events=(...)
      Tastemaker.bus.on("rated", fn); Tastemaker.bus.emit("rated", {...});   // between widgets of the page
      Tastemaker.navigate("write", { c: id });     // other page + address
    };

Draw with `h(tag, {props}, ...children)` (text becomes textContent) and `keyed(parent, items, key, create, update)`.
Only Markdown that Python has rendered and sanitised (ui/view.py: markdown) may go through `setHtml(node, html)`.

Long work: call `host.act` to start the job, then poll `host.act` each second, or use a generator event::

    library.follow(fn=..., inputs=None, outputs=[live], **STREAM)      # "follow" must be in events
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import gradio as gr

MOUNT = """(window.TastemakerQueue = window.TastemakerQueue || []).push(
  {name: %s, element, props, trigger, server, watch, upload, events: [%s]}); window.Tastemaker && window.Tastemaker.drain();"""

STREAM: Final[dict[str, Any]] = {
    "queue": True,
    "show_progress": "hidden",
    "trigger_mode": "multiple",
    "concurrency_limit": None,
    "api_visibility": "private",
}
"""Keyword arguments of a Gradio event that follows a job: not in the API, never blocking another one, without a spinner."""


def widget(
    name: str,
    value: Any = None,
    *,
    elem_id: str,
    act: Callable[..., Any] | None = None,
    events: tuple[str, ...] = (),
    elem_classes: str = "",
    **props: Any,
) -> gr.HTML:
    """Mount Tastemaker.widgets[name]. `value` and `props` are JSON; `act(action, request)` answers `host.act(type, payload)`."""
    functions: list[Callable[..., Any]] = []
    if act is not None:

        def call(action: Any, request: gr.Request) -> Any:
            return act(action, request)

        # Gradio looks the parameter's type up by name, and with postponed annotations it would find only a string.
        call.__annotations__ = {"action": Any, "request": gr.Request}
        call.__name__ = "act"
        functions.append(call)
    return gr.HTML(
        value=value,
        html_template="<div class='tm-root'></div>",
        js_on_load=MOUNT % (json.dumps(name), ", ".join(json.dumps(event) for event in events)),
        apply_default_css=False,
        elem_id=elem_id,
        elem_classes=["tm-widget", *elem_classes.split()],
        server_functions=functions or None,
        padding=False,
        **props,
    )
