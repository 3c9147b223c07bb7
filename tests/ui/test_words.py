"""Both languages say the same things, and every error of the engine can be said in each."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from engine.errors import BadOptionError, TooLongError
from ui.handlers import error_view, guarded
from ui.i18n import ASSETS_DIR, LANGUAGES, from_accept_language, messages, translator
from ui.tabs.write import templates

ROOT = Path(__file__).parents[2]
PLACEHOLDER = re.compile(r"\{(\w+)\}")


@pytest.mark.parametrize("area", sorted(path.name for path in (ASSETS_DIR / "i18n" / "en").glob("*.json")))
def test_an_area_has_the_same_keys_and_values_in_both_languages(area: str) -> None:
    en, zh = (json.loads((ASSETS_DIR / "i18n" / language / area).read_text(encoding="utf-8")) for language in ("en", "zh"))
    only_plural = {key for key in en if key.endswith(".one")}
    assert set(en) - only_plural == set(zh) - only_plural
    for key in set(en) & set(zh) - only_plural:
        assert set(PLACEHOLDER.findall(zh[key])) <= set(PLACEHOLDER.findall(en[key])) | {"n"}, key


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_error_of_the_engine_has_words(language: str) -> None:
    sources = [path.read_text(encoding="utf-8") for path in [*ROOT.glob("engine/**/*.py"), *ROOT.glob("ui/**/*.py")]]
    keys = {key for source in sources for key in re.findall(r'"(error\.[a-z_]+|notice\.[a-z_]+)"', source)}
    assert len(keys) > 60
    assert not keys - set(messages(language))


def test_no_text_shouts() -> None:
    for language in LANGUAGES:
        assert not [key for key, text in messages(language).items() if "!" in text or "！" in text]


def test_an_error_speaks_the_page_s_language_and_an_unknown_one_names_its_fault() -> None:
    error = TooLongError("The prompt is 9 long.", key="error.too_long", what="The prompt", length=9, limit=5)
    assert error_view(error, "en") == {"error": {"code": "too_long", "message": "The prompt is 9 long."}}
    assert error_view(error, "zh")["error"]["message"].startswith("提示有 9 个字符")
    unknown = error_view(RuntimeError("a secret path"), "en")["error"]["message"]
    assert "secret" not in unknown and re.search(r"fault [0-9a-f]{6}", unknown)


def test_a_guarded_handler_answers_every_error() -> None:
    def fail(action: object, request: object) -> None:
        raise BadOptionError("No.", key="error.none")

    assert guarded("en", fail)({}, None) == {"error": {"code": "bad_option", "message": "No."}}
    assert "error" in guarded("en", fail)("not an object", None)


def test_one_is_said_as_one() -> None:
    t = translator("en")
    assert t("write.tokens", n=1) == "1 token" and t("write.tokens", n=2) == "2 tokens"


@pytest.mark.parametrize(
    ("header", "language"), [("zh-CN,zh;q=0.9", "zh"), ("de,zh;q=0.5,en;q=0.3", "zh"), ("de", "en"), ("", "en")]
)
def test_the_browser_s_language_is_used(header: str, language: str) -> None:
    assert from_accept_language(header) == language


def test_there_are_templates_to_start_from_in_both_languages() -> None:
    for language in LANGUAGES:
        found = templates(language)
        assert len(found) >= 12 and all(one["title"] and one["about"] and one["prompt"] for one in found)
