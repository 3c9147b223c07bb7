"""A text model behind an OpenAI-compatible server: vLLM, Ollama, llama.cpp, LM Studio, or the original.

Knows the chat-completions protocol through the `openai` library; knows no weights, no jobs and no database. The key is in
memory only and in no error message, log line or recorded path.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from engine.errors import BadOptionError, BusyError, NoModelError, StudioError, TooLongError
from engine.jobs.job import CancelToken
from engine.models.adapters import AdapterRef
from engine.models.catalog import ModelSpec, ServerSource
from engine.text.model import FinishReason, GenerateRequest, Message, Scored, TextEvent
from engine.text.sampling import DRY_ALLOWED_LENGTH, DRY_BASE

if TYPE_CHECKING:
    import openai

logger = logging.getLogger(__name__)

_POLL_S = 0.05
_CONNECT_TIMEOUT_S = 10.0
_READ_TIMEOUT_S = 300.0
"""A server may take this long between two tokens, for instance while it loads its model."""
_EXTRA = ("top_k", "repetition_penalty", "dry_")
"""How options outside the protocol begin that most servers of this kind take. One that refuses them is asked again without."""
_FINISH: Mapping[str | None, FinishReason] = {"length": "length"}


class OpenAITextModel:
    """Implements engine.text.model.TextModel."""

    size_bytes = 0

    def __init__(self, spec: ModelSpec, source: ServerSource, key: str | None) -> None:
        import openai

        self.id = spec.id
        self.languages = spec.languages
        self.context_length = spec.context_length
        self._name = spec.name
        self._source = source
        self._host = urlsplit(source.url).netloc
        local = urlsplit(source.url).hostname in ("127.0.0.1", "localhost", "::1")
        timeout = openai.Timeout(_READ_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
        # A proxy set for the internet must not get what is said to a server on this machine.
        client = openai.DefaultHttpxClient(timeout=timeout, trust_env=not local, follow_redirects=False)
        self._client = openai.OpenAI(
            base_url=source.url, api_key=key or "none", max_retries=0, http_client=client, organization="", project=""
        )
        self._takes_extra = True

    def generate(self, request: GenerateRequest, cancel: CancelToken) -> Iterator[TextEvent]:
        """See TextModel. Each row is one streamed request of its own; all run at once, so `batched` changes nothing."""
        _refuse_adapter(request.adapter)
        events: queue.SimpleQueue[TextEvent | StudioError] = queue.SimpleQueue()
        prompt_tokens = self.count_tokens(request.messages)
        rows = [_Row(self, request, number, seed, prompt_tokens, events) for number, seed in enumerate(request.seeds)]
        return _events(rows, events, cancel)

    def score(
        self,
        messages: tuple[Message, ...],
        answer: str,
        *,
        adapter: AdapterRef | None = None,
        cancel: CancelToken | None = None,
    ) -> Scored:
        """See TextModel. The chat protocol has no way to ask how likely a given text is, so this raises BadOptionError."""
        _refuse_adapter(adapter)
        text = "A model on a server cannot score texts; choose one that runs on this machine."
        raise BadOptionError(text, key="error.score_server")

    def count_tokens(self, messages: tuple[Message, ...]) -> int:
        """An estimate, as the protocol has no way to ask: one for a Chinese character, one for four other characters."""
        return sum(4 + estimate_tokens(message.content) for message in messages)

    def fit(self, messages: tuple[Message, ...], max_new_tokens: int) -> tuple[tuple[Message, ...], int, int]:
        """See TextModel; by the estimate, and only when the server's context length is known."""
        if not self.context_length:
            return messages, 0, max_new_tokens
        head = messages[:1] if messages and messages[0].role == "system" else ()
        body = messages[len(head) :]
        budget = self.context_length - min(max_new_tokens, max(1, self.context_length // 4))
        kept = body
        while self.count_tokens((*head, *kept)) > budget:
            later = [number for number, message in enumerate(kept) if number and message.role == "user"]
            if not later:
                size = self.count_tokens((*head, *kept))
                raise TooLongError(
                    f"This prompt has about {size} tokens; the model takes {budget} beside its answer. Shorten it.",
                    key="error.prompt_tokens_about",
                    tokens=size,
                    limit=budget,
                )
            kept = kept[later[0] :]
        room = self.context_length - self.count_tokens((*head, *kept))
        return (*head, *kept), len(body) - len(kept), min(max_new_tokens, room)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def stream(self, request: GenerateRequest, seed: int) -> openai.Stream[Any]:
        """Start one streamed answer; raises StudioError in one sentence."""
        import openai

        try:
            try:
                return self._create(request, seed, extra=self._takes_extra)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if not self._takes_extra or not any(name in str(error) for name in (*_EXTRA, "extra", "nrecognized")):
                    raise
                self._takes_extra = False
                return self._create(request, seed, extra=False)
        except openai.OpenAIError as error:
            raise self.explain(error) from error

    def path(self) -> Mapping[str, Any]:
        """What can be recorded of how an answer was made. A server promises nothing, so it cannot be replayed."""
        return {
            "engine": "openai",
            "host": self._host,
            "model": self._source.model,
            "takes_extra": self._takes_extra,
            "adapter": "base",
        }

    def explain(self, error: Exception) -> StudioError:
        """The studio's error for one of the library's; never carries the key."""
        import openai

        where = {"host": self._host, "model": self._source.model}
        said = _server_words(error)
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return NoModelError(
                f"The server {self._host} refused the key. Check it on the Models page.", key="error.server_key_refused", **where
            )
        if isinstance(error, openai.NotFoundError):
            text = f'The server {self._host} has no model "{self._source.model}" at this address.'
            return NoModelError(text, key="error.server_no_model", **where)
        if isinstance(error, openai.RateLimitError):
            return BusyError(
                f"The server {self._host} is busy or its quota is used up. Try again later.", key="error.server_busy", **where
            )
        if isinstance(error, openai.APIStatusError) and error.status_code < 500:
            return BadOptionError(
                f"The server {self._host} refused the request: {said}", key="error.server_refused", said=said, **where
            )
        if isinstance(error, openai.APIStatusError):
            return StudioError(f"The server {self._host} failed: {said}", key="error.server_failed", said=said, **where)
        if isinstance(error, openai.APITimeoutError) or "Timeout" in type(error).__name__:
            return BusyError(f"The server {self._host} did not answer in time. Try again.", key="error.server_slow", **where)
        if isinstance(error, openai.APIConnectionError | OSError) or type(error).__module__.startswith("httpx"):
            text = f"The server {self._host} cannot be reached or broke off. Is it running? What was written is kept."
            return NoModelError(text, key="error.server_unreachable", **where)
        return StudioError(
            f"The server {self._host} answered something else than a chat: {said}", key="error.server_strange", said=said, **where
        )

    def _create(self, request: GenerateRequest, seed: int, *, extra: bool) -> openai.Stream[Any]:
        sampling = request.sampling
        messages: list[Any] = [{"role": message.role, "content": message.content} for message in request.messages]
        body: dict[str, Any] = {}
        if request.continue_text:
            # vLLM's way to go on from a begun answer; servers that do not know it see an assistant message at the end.
            messages.append({"role": "assistant", "content": request.continue_text})
            body.update(add_generation_prompt=False, continue_final_message=True)
        if extra:
            body.update(top_k=sampling.top_k or -1, repetition_penalty=sampling.repetition_penalty)
            if sampling.dry_multiplier > 0.0:
                body.update(dry_multiplier=sampling.dry_multiplier, dry_base=DRY_BASE, dry_allowed_length=DRY_ALLOWED_LENGTH)
        return self._client.chat.completions.create(
            model=self._source.model,
            messages=messages,
            stream=True,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_new_tokens,
            seed=seed,
            stop=list(sampling.stop[:4]) or None,
            extra_body=body or None,
            stream_options={"include_usage": True},
        )


class _Row:
    """One streamed request, read in a thread of its own."""

    def __init__(
        self,
        model: OpenAITextModel,
        request: GenerateRequest,
        number: int,
        seed: int,
        prompt_tokens: int,
        events: queue.SimpleQueue[TextEvent | StudioError],
    ) -> None:
        self._model = model
        self._request = request
        self.number = number
        self._seed = seed
        self._events = events
        self._prompt_tokens = prompt_tokens
        self._tokens = 0
        self._ttft_s: float | None = None
        self._started_at = time.monotonic()
        self._stream: openai.Stream[Any] | None = None
        self._lock = threading.Lock()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=f"openai-row-{number}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close the connection, which is how a server hears that nobody listens any more. Does not wait."""
        with self._lock:
            self._stopped = True
            stream = self._stream
        if stream is not None:
            stream.close()

    def cancelled_event(self) -> TextEvent:
        return TextEvent(self.number, "", self._tokens, "cancelled", self._prompt_tokens, self._ttft_s, self._model.path())

    def _run(self) -> None:
        try:
            self._read()
        except StudioError as error:
            if not self._stopped:
                self._events.put(error)
        except Exception as error:
            # The transport below the library raises its own errors, and any at all once stop() has closed the stream.
            logger.log(logging.DEBUG if self._stopped else logging.WARNING, "a server's stream ended", exc_info=True)
            if not self._stopped:
                self._events.put(self._model.explain(error))

    def _read(self) -> None:
        stream = self._model.stream(self._request, self._seed)
        with self._lock:
            self._stream = stream
            stopped = self._stopped
        if stopped:
            stream.close()
            return
        finish: str | None = None
        completion_tokens: int | None = None
        for chunk in stream:
            if self._stopped:
                return
            if chunk.usage is not None:
                completion_tokens = chunk.usage.completion_tokens
                self._prompt_tokens = chunk.usage.prompt_tokens or self._prompt_tokens
            for choice in chunk.choices or ():
                finish = choice.finish_reason or finish
                if choice.delta is not None and choice.delta.content:
                    self._take(choice.delta.content)
        if finish is None:
            raise StudioError(
                f"The server {self._model.path()['host']} broke off in the middle. What was written is kept; try again.",
                key="error.server_broke_off",
                host=self._model.path()["host"],
            )
        self._tokens = completion_tokens or self._tokens
        reason = _FINISH.get(finish, "stop")
        self._events.put(TextEvent(self.number, "", self._tokens, reason, self._prompt_tokens, self._ttft_s, self._model.path()))

    def _take(self, text: str) -> None:
        self._tokens += 1
        if self._ttft_s is None:
            self._ttft_s = time.monotonic() - self._started_at
        self._events.put(TextEvent(self.number, text, self._tokens, None, self._prompt_tokens, self._ttft_s))


def _refuse_adapter(adapter: AdapterRef | None) -> None:
    if adapter is not None:
        text = "A model on a server takes no adapters trained here. Choose the base version."
        raise BadOptionError(text, key="error.adapter_server")


def estimate_tokens(text: str) -> int:
    """A guess without a tokenizer: one for each Chinese, Japanese or Korean character, one for each four others."""
    wide = sum(1 for character in text if "\u2e80" <= character <= "\ud7ff" or "\uf900" <= character <= "\uffef")
    return wide + -(-(len(text) - wide) // 4)


def _events(rows: list[_Row], events: queue.SimpleQueue[TextEvent | StudioError], cancel: CancelToken) -> Iterator[TextEvent]:
    open_rows = {row.number: row for row in rows}
    try:
        for row in rows:
            row.start()
        while open_rows:
            if cancel.cancelled:
                for row in list(open_rows.values()):
                    row.stop()
                    del open_rows[row.number]
                    yield row.cancelled_event()
                return
            try:
                event = events.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if isinstance(event, StudioError):
                raise event
            if event.finish_reason is not None:
                del open_rows[event.row]
            yield event
    finally:
        for row in open_rows.values():
            row.stop()


def _server_words(error: Exception) -> str:
    """What the server said, shortened to one line."""
    body = getattr(error, "body", None)
    text = body.get("message") if isinstance(body, Mapping) else None
    words = " ".join(str(text or getattr(error, "message", "") or type(error).__name__).split())
    return words[:300]
