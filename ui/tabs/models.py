"""The Models tab: what is here and what could be, getting and removing, defaults, own folders and servers, what is in memory.

The page asks again every second while something is being fetched, so a reload or a second window shows the same.
Drawn by assets/js/models.js, worded by assets/i18n/*/models.json. Knows the services; knows no store and no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ui.components.frame import Frame
from ui.components.widget import widget
from ui.handlers import Action, Answer, acting, action_id, in_words, task_of
from ui.i18n import Translator
from ui.view_arena import Versions, version_view

if TYPE_CHECKING:
    from engine.services.model_card import ModelCard
    from engine.studio import Studio

View = dict[str, Any]


def build(studio: Studio, frame: Frame, t: Translator) -> None:
    """Mount the tab into its page."""
    page = ModelsPage(studio, t, frame.language)

    widget("models", elem_id="models", act=acting(frame, page.actions))


class ModelsPage:
    """What the page can ask for, by the action's type. Every answer is the whole page again: it is small."""

    def __init__(self, studio: Studio, t: Translator, language: str) -> None:
        self.studio = studio
        self.t = t
        self.language = language
        self.actions: dict[str, Answer] = {
            "show": self.show,
            "get": self.get,
            "cancel": self.cancel,
            "remove": self.remove,
            "default": self.default,
            "unload": self.unload,
            "load": self.load,
            "measure": self.measure,
            "add_local": self.add_local,
            "add_server": self.add_server,
            "promote": self.promote,
            "rollback": self.roll_back,
            "rename_adapter": self.rename_adapter,
            "remove_adapter": self.remove_adapter,
        }

    def show(self, owner_id: str, action: Action) -> View:
        """{cards, loaded, hardware, offline}."""
        hardware, cards = self.studio.models.hardware(), self.studio.models.cards(owner_id)
        names = {card.id: card.name for card in cards}
        loaded = [
            {"id": model.id, "name": names.get(model.id, model.id), "size_bytes": model.size_bytes, "in_use": bool(model.in_use)}
            for model in self.studio.models.loaded()
        ]
        sizes = {model["id"]: model["size_bytes"] for model in loaded}
        adapters = self._adapters(owner_id, names)
        return {
            "cards": [{**self.card_view(card, sizes.get(card.id)), "adapters": adapters.get(card.id, [])} for card in cards],
            "loaded": loaded,
            "hardware": {
                "device": hardware.device,
                "cpu": hardware.cpu,
                "cores": hardware.cores,
                "ram_bytes": hardware.ram_bytes,
                "ram_available_bytes": hardware.ram_available_bytes,
                "gpu": hardware.gpu,
                "gpu_bytes": hardware.gpu_bytes,
                "gpu_available_bytes": hardware.gpu_available_bytes,
            },
            "offline": bool(self.studio.settings.offline),
        }

    def get(self, owner_id: str, action: Action) -> View:
        """Get a model, or verify one that is here."""
        self.studio.models.get(owner_id, action_id(action))
        return self.show(owner_id, action)

    def cancel(self, owner_id: str, action: Action) -> View:
        """Stop a download; what has come is kept for the next time."""
        card = next((one for one in self.studio.models.cards(owner_id) if one.id == action_id(action)), None)
        if card is not None and card.job_id:
            self.studio.jobs.cancel(owner_id, card.job_id)
        return self.show(owner_id, action)

    def remove(self, owner_id: str, action: Action) -> View:
        """Delete a fetched model's files, or forget an added one."""
        self.studio.models.remove(action_id(action), owner_id)
        return self.show(owner_id, action)

    def default(self, owner_id: str, action: Action) -> View:
        """Use this model for its task from now on."""
        self.studio.models.set_default(owner_id, str(action.get("task")), action_id(action))
        return self.show(owner_id, action)

    def unload(self, owner_id: str, action: Action) -> View:
        """Free an idle model's memory."""
        self.studio.models.unload(action_id(action))
        return self.show(owner_id, action)

    def load(self, owner_id: str, action: Action) -> View:
        """Load the default text model now, so that the next answer does not wait for it."""
        self.studio.models.warm(owner_id)
        return self.show(owner_id, action)

    def measure(self, owner_id: str, action: Action) -> View:
        """Let the model that writes answer once, and say how fast it was."""
        speed = self.studio.speed.measure(owner_id)
        names = self.studio.models.names(owner_id)
        key = f"models.form.{speed.form}"
        form = self.t(key)
        said = {
            "name": names.get(speed.model_id, speed.model_id),
            "form": speed.form if form == key else form,
            "prompt_tokens": speed.prompt_tokens,
            "first_token_s": round(speed.first_token_s, 2),
            "read_tokens_per_s": round(speed.read_tokens_per_s),
            "write_tokens_per_s": round(speed.write_tokens_per_s),
        }
        return {**self.show(owner_id, action), "speed": said}

    def add_local(self, owner_id: str, action: Action) -> View:
        """Add a folder with config.json, tokenizer.json and *.safetensors."""
        card = self.studio.models.add_local(owner_id, str(action.get("path") or ""), str(action.get("name") or ""))
        return {**self.show(owner_id, action), "added": card.id}

    def add_server(self, owner_id: str, action: Action) -> View:
        """Add a model behind an OpenAI-compatible server. The key is kept in a file of its own on this machine."""
        given = [str(action.get(field) or "") for field in ("name", "url", "model", "key")]
        card = self.studio.models.add_server(owner_id, *given)
        return {**self.show(owner_id, action), "added": card.id}

    def promote(self, owner_id: str, action: Action) -> View:
        """Write with this adapter from now on; without a passed blind test it takes a reason."""
        self.studio.adapters.promote(owner_id, action_id(action), override=str(action.get("override") or "").strip() or None)
        return self.show(owner_id, action)

    def roll_back(self, owner_id: str, action: Action) -> View:
        """Write with what was in use before."""
        self.studio.adapters.roll_back(owner_id, task_of(action.get("task", "text")), str(action.get("base_id")))
        return self.show(owner_id, action)

    def rename_adapter(self, owner_id: str, action: Action) -> View:
        """Give an adapter another name."""
        self.studio.adapters.rename(owner_id, action_id(action), str(action.get("name") or ""))
        return self.show(owner_id, action)

    def remove_adapter(self, owner_id: str, action: Action) -> View:
        """Delete an adapter's files; what it wrote stays."""
        self.studio.adapters.remove(owner_id, action_id(action))
        return self.show(owner_id, action)

    def _adapters(self, owner_id: str, names: dict[str, str]) -> dict[str, list[View]]:
        """The user's own versions by the id of the model they sit on, newest first."""
        views = self.studio.adapters.list(owner_id)
        datasets = {dataset.id: dataset for dataset in self.studio.datasets.list(owner_id)} if views else {}
        versions, found = Versions(self.studio.adapters.names(owner_id), names, self.t), dict[str, list[View]]()
        for view in views:
            found.setdefault(view.record.base_model_id, []).append(version_view(view, versions, datasets, self.t))
        return found

    def card_view(self, card: ModelCard, loaded_bytes: int | None) -> View:
        """One card, worded in the page's language."""
        return {
            "id": card.id,
            "name": card.name,
            "task": card.task,
            "description": self._description(card),
            "origin": self._origin(card.source),
            "licence": card.licence,
            "languages": list(card.languages),
            "download_bytes": card.download_bytes,
            "size_bytes": card.size_bytes,
            "memory_bytes": card.memory_bytes,
            "context_length": card.context_length,
            "is_starter": card.is_starter,
            "is_added": card.is_added,
            "is_stored": card.is_stored,
            "is_recommended": card.is_recommended,
            "is_default": card.is_default,
            "state": card.state,
            "fits": card.fits,
            "needs_bytes": card.needs_bytes,
            "have_bytes": card.have_bytes,
            "loaded_bytes": loaded_bytes,
            "job_id": card.job_id,
            "progress": card.progress,
            "phase": card.phase,
            "eta_s": card.eta_s,
            "error": self._error(card),
        }

    def _description(self, card: ModelCard) -> str:
        """The catalogue speaks English; other languages have their own sentence for the models it lists."""
        if card.is_added or self.language == "en":
            return card.description
        key = f"models.about.{card.id}"
        words = self.t(key)
        return card.description if words == key else words

    def _origin(self, source: str) -> str:
        """Where it comes from, in a few words: a package, the hub, a folder, a server."""
        kind, _, rest = source.partition(":")
        if kind == "wheel":
            return self.t("models.from.package", name=rest.split(":")[0].replace("==", " "))
        if kind == "hub":
            return self.t("models.from.hub", name=rest.split("@")[0])
        if kind == "openai":
            url, _, model = rest.partition("#")
            return self.t("models.from.server", name=model, host=urlsplit(url).netloc)
        return self.t("models.from.folder", name=rest) if kind == "local" else self.t("models.from.studio")

    def _error(self, card: ModelCard) -> str | None:
        """Why the last download failed, in the page's language where that has all the sentence names."""
        if not card.error or self.language == "en":  # the error's own English sentence may say more
            return card.error
        words = self.t(card.error_key, **in_words(card.error_values, self.language)) if card.error_key else ""
        return words if words and words != card.error_key and "{" not in words else card.error
