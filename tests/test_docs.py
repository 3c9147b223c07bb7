"""Documentation that cannot drift: flags, variables, commands, endpoints, words of the pages, and the map of the tree.

Knows where each is written down; knows nothing of what they do.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
from pathlib import Path

import pytest

from engine.arguments import FLAGS, build_parser
from engine.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
PLACEHOLDER = re.compile(r"{(\w+)}")


def words(language: str) -> dict[str, str]:
    merged: dict[str, str] = {}
    for path in sorted((ROOT / "assets" / "i18n" / language).glob("*.json")):
        area = json.loads(path.read_text(encoding="utf-8"))
        assert not merged.keys() & area.keys(), f"{path.name} repeats {sorted(merged.keys() & area.keys())}"
        merged.update(area)
    return merged


def tracked() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_every_setting_is_a_flag_and_documented() -> None:
    assert set(Settings.model_fields) == set(FLAGS)
    missing = [f"--{name.replace('_', '-')}" for name in FLAGS if f"`--{name.replace('_', '-')}" not in README]
    assert not missing
    named = set(re.findall(r"TASTEMAKER_([A-Z_]+)", README + API))
    assert {name.lower() for name in named} <= set(FLAGS)


def test_every_command_is_documented() -> None:
    commands = next(action.choices for action in build_parser()._actions if action.dest == "command")
    assert commands
    missing = [name for name in commands if f"`launch.py {name}" not in README]
    assert not missing


def test_every_endpoint_has_a_section_with_both_examples() -> None:
    source = "\n".join((ROOT / "ui" / name).read_text(encoding="utf-8") for name in ("api.py", "api_image.py", "api_learning.py"))
    names = re.findall(r'"(\w+)": \w+', " ".join(re.findall(r"^    return ({.+})$", source, re.M)))
    assert {"write", "imagine", "edit", "rate", "prefer", "library", "export", "import", "run", "cancel"} <= set(names)
    assert {"dataset", "train", "evaluate", "match", "vote", "promote"} <= set(names)
    for name in names:
        section = re.search(rf"^## /{name}$(.*?)(?=^## |\Z)", API, re.M | re.S)
        assert section, f"/{name} has no section in docs/api.md"
        assert "```python" in section.group(1) and "```bash" in section.group(1), f"/{name} lacks an example"


def test_every_write_option_is_documented() -> None:
    from engine.types import WriteOptions

    section = API.split("## /write", 1)[1].split("## /imagine", 1)[0]
    assert not [name for name in WriteOptions.__dataclass_fields__ if f"| `{name}` |" not in section]


def test_every_image_option_is_documented() -> None:
    from engine.types import ImagineOptions

    section = API.split("## /imagine", 1)[1].split("## /edit", 1)[0]
    assert not [name for name in (*ImagineOptions.__dataclass_fields__, "mask") if f"`{name}`" not in section]


@pytest.mark.parametrize(("name", "after"), [("train", "evaluate"), ("evaluate", "match")])
def test_every_option_of_learning_is_documented(name: str, after: str) -> None:
    from engine.types import EvaluateOptions, TrainOptions

    section = API.split(f"## /{name}\n", 1)[1].split(f"## /{after}\n", 1)[0]
    options = {"train": TrainOptions, "evaluate": EvaluateOptions}[name]
    assert not [option for option in options.__dataclass_fields__ if f"| `{option}` |" not in section]


def test_every_setting_of_a_training_is_documented() -> None:
    from engine.training.args import setting_names

    learning = (ROOT / "docs" / "learning.md").read_text(encoding="utf-8")
    assert not [setting for setting in setting_names() if setting != "method" and f"| `{setting}` |" not in learning]


def test_languages_have_the_same_words() -> None:
    english, chinese = words("en"), words("zh")
    one = {key for key in english if key.endswith(".one")}  # English alone has a singular
    assert english.keys() - one == chinese.keys() - {key for key in chinese if key.endswith(".one")}
    wrong = [
        k for k in chinese.keys() & english.keys() if set(PLACEHOLDER.findall(chinese[k])) != set(PLACEHOLDER.findall(english[k]))
    ]
    assert not wrong, "placeholders differ"
    empty = [key for key, text in {**english, **chinese}.items() if not text.strip()]
    assert not empty


def literal_keys() -> set[str]:
    """Every key="…" of the engine's errors and notices, and every t("…") of the pages."""
    found: set[str] = set()
    for path in [*ROOT.glob("engine/**/*.py"), *ROOT.glob("ui/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            given = [k.value for k in node.keywords if k.arg == "key" and "engine" in path.parts]
            if isinstance(node.func, ast.Name) and node.func.id == "t":
                given.extend(node.args[:1])
            found.update(g.value for g in given if isinstance(g, ast.Constant) and isinstance(g.value, str) and "." in g.value)
    for path in ROOT.glob("assets/js/*.js"):
        found.update(re.findall(r"""\bt\(\s*["']([a-z_]+\.[\w.]+[a-z0-9_])["']""", path.read_text(encoding="utf-8")))
    return found


def test_every_key_that_is_used_has_words() -> None:
    known = words("en")
    assert not sorted(key for key in literal_keys() if key and key not in known)


def test_readme_maps_the_tree() -> None:
    folders = {path.relative_to(ROOT).parts[0] for path in tracked() if len(path.relative_to(ROOT).parts) > 1}
    missing = sorted(f for f in folders if not f.startswith(".") and f"`{f}/" not in README)
    assert not missing
    named = re.findall(r"`((?:ui|engine|storage|assets|tests|bench|docs)/[\w/.]*)`", README)
    assert not [name for name in named if not (ROOT / name).exists()]


def test_links_in_documents_lead_somewhere() -> None:
    broken = []
    for document in [ROOT / "README.md", *ROOT.glob("docs/*.md"), ROOT / "bench" / "README.md"]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
            if not target.startswith(("http://", "https://")) and not (document.parent / target).exists():
                broken.append(f"{document.name}: {target}")
    assert not broken


UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|(?i:lorem ipsum|not implemented yet|coming soon)")


@pytest.mark.parametrize("suffix", [".py", ".js", ".css", ".json", ".md", ".yaml"])
def test_nothing_is_left_unfinished(suffix: str) -> None:
    found = []
    for path in tracked():
        if path.suffix == suffix and path != Path(__file__).resolve():
            lines = path.read_text(encoding="utf-8").splitlines()
            found += [
                f"{path.relative_to(ROOT)}:{n}: {line.strip()}" for n, line in enumerate(lines, 1) if UNFINISHED.search(line)
            ]
    assert not found
