"""Flags, variables and defaults; where things lie; one sentence for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.arguments import FLAGS, build_parser, parse
from engine.errors import RefusedStartError
from engine.settings import Settings, read_settings

ROOT = Path(__file__).resolve().parents[2]


def test_defaults_are_outside_the_checkout_and_this_machine_only() -> None:
    settings = read_settings({})
    assert (settings.host, settings.port, settings.device, settings.is_loopback) == ("127.0.0.1", 7860, "auto", True)
    for folder in (settings.data_dir, settings.models_dir):
        assert folder.is_absolute()
        assert not folder.is_relative_to(ROOT)
    assert settings.database_url == f"sqlite:///{settings.data_dir}/tastemaker.db"


def test_every_flag_is_a_setting_and_every_setting_a_flag() -> None:
    assert set(FLAGS) == set(Settings.model_fields)


def test_a_flag_wins_over_its_variable_and_the_variable_over_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TASTEMAKER_PORT", "7001")
    monkeypatch.setenv("TASTEMAKER_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TASTEMAKER_OFFLINE", "1")
    monkeypatch.setenv("TASTEMAKER_LANG", "")  # set to nothing is not set
    settings = read_settings({"port": 7002})
    assert (settings.port, settings.data_dir, settings.offline, settings.lang) == (7002, tmp_path, True, None)


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ({"port": 0}, "--port"),
        ({"port": 70_000}, "--port"),
        ({"device": "gpu"}, "--device"),
        ({"lang": "fr"}, "--lang"),
    ],
)
def test_a_bad_flag_is_one_sentence_that_names_it(flags: dict[str, object], names: str) -> None:
    with pytest.raises(RefusedStartError) as refused:
        read_settings(flags)
    assert str(refused.value).startswith(names)
    assert "\n" not in str(refused.value)


def test_a_bad_variable_is_named_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASTEMAKER_PORT", "many")
    with pytest.raises(RefusedStartError, match="TASTEMAKER_PORT"):
        read_settings({})


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("example.org", False),
    ],
)
def test_what_others_can_reach_is_told_apart(host: str, is_loopback: bool) -> None:
    assert read_settings({"host": host}).is_loopback is is_loopback


def test_secrets_do_not_show() -> None:
    settings = read_settings({"auth": "me:hunter2", "database": "postgresql://me:hunter2@db/x"})
    assert "hunter2" not in repr(settings)
    assert settings.database_url == "postgresql://me:hunter2@db/x"


def test_everything_lies_in_the_data_folder(tmp_path: Path) -> None:
    settings = read_settings({"data_dir": str(tmp_path)})
    paths = [getattr(settings, name) for name in dir(type(settings)) if name.endswith(("_dir", "_path")) and name != "models_dir"]
    assert len(paths) >= 7
    assert all(path.is_relative_to(tmp_path) for path in paths)
    assert list(tmp_path.iterdir()) == []


def test_flags_stand_before_or_after_the_command() -> None:
    for argv in (["--data-dir", "d", "backup", "f.zip"], ["backup", "f.zip", "--data-dir", "d"]):
        command, flags = parse(argv)
        assert (command.command, command.file) == ("backup", "f.zip")
        assert flags == {"data_dir": "d"}


def test_what_is_not_given_is_left_to_the_environment() -> None:
    command, flags = parse([])
    assert command.command is None
    assert flags == {}


@pytest.mark.parametrize(
    "argv",
    [
        ["--colour"],
        ["--port", "x"],
        ["paint"],
        ["backup"],
        ["--por", "1"],
        ["models", "eat", "m"],
        ["export", "f", "--format", "xml"],
    ],
)
def test_a_bad_command_line_is_one_line_and_exit_code_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parse(argv)
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("tastemaker: ")
    assert said.count("\n") == 1


def test_help_names_every_flag_and_command() -> None:
    text = build_parser().format_help()
    for name in FLAGS:
        assert f"--{name.replace('_', '-')}" in text
    for command in ("backup", "restore", "export", "import", "doctor", "models"):
        assert command in text
