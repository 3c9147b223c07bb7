"""The command line: `python launch.py [flags] [command]`. Every flag is also a variable TASTEMAKER_<FLAG>.

Knows names and help texts; reads no environment and does nothing. `engine.settings` checks values and fills in defaults.
"""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

EPILOG = """each flag is also an environment variable: --data-dir is TASTEMAKER_DATA_DIR; --offline is TASTEMAKER_OFFLINE=1.
exit codes: 0 stopped by the user; 2 bad usage, or a start that was refused (one line says why and what to do)."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        """Print one line and leave with exit code 2."""
        self.exit(2, f"tastemaker: {message}; see `python launch.py --help`.\n")


def parse(argv: list[str] | None = None) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Return the command with its own arguments (`command` is None to run the studio) and the flags that were given."""
    namespace = vars(build_parser().parse_args(argv))
    flags = {name: namespace.pop(name) for name in FLAGS if name in namespace}
    return argparse.Namespace(**namespace), flags


FLAGS: dict[str, dict[str, Any]] = {
    "host": {"help": "address to listen on (127.0.0.1)"},
    "port": {"type": int, "help": "port to listen on (7860)"},
    "data_dir": {"metavar": "DIR", "help": "where creations and ratings live (the user's data folder)"},
    "models_dir": {"metavar": "DIR", "help": "where weights live, for all data folders (the user's cache folder)"},
    "database": {"metavar": "URL", "help": "sqlite:///FILE or postgresql+psycopg://… (a SQLite file in the data folder)"},
    "device": {"metavar": "DEVICE", "help": "auto, cpu, cuda, cuda:N or mps (auto)"},
    "share": {"action": "store_true", "help": "show the studio to others through a link (not in this version)"},
    "auth": {"metavar": "USER:PASS|FILE", "help": "who may log in to the shared studio (not in this version)"},
    "offline": {"action": "store_true", "help": "never use the network"},
    "no_browser": {"action": "store_true", "help": "do not open the browser"},
    "read_pages": {"type": int, "metavar": "N", "help": "pages that are read of one PDF (500)"},
    "read_text_mb": {"type": float, "metavar": "MB", "help": "text that is read of one document (5)"},
    "read_seconds": {"type": float, "metavar": "S", "help": "time that reading one document may take (60)"},
    "read_memory_mb": {"type": int, "metavar": "MB", "help": "memory that reading documents may take (1024)"},
    "read_urls": {"action": "store_true", "help": "let summaries fetch a web page from its address"},
    "lang": {"choices": ("en", "zh"), "help": "language of the pages (the browser's)"},
}
"""Flag → how argparse takes it. What is not given stays away, so that the environment and the defaults are used."""


def build_parser() -> Parser:
    """The parser of `launch.py`. Flags may stand before or after the command."""
    flags = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    for name, how in FLAGS.items():
        flags.add_argument(f"--{name.replace('_', '-')}", dest=name, **how)
    parser = Parser(
        prog="launch.py",
        description="Tastemaker: a local creative studio that learns your taste. Without a command it starts the studio.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[flags],
        allow_abbrev=False,
    )
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(dest="command", metavar="command", parser_class=Parser)

    def command(name: str, help_text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=help_text, description=help_text, parents=[flags], allow_abbrev=False)

    command("backup", "write everything to one file, also while the studio runs").add_argument("file", metavar="FILE")
    command("restore", "put a backup's contents into the data folder; the studio must not run").add_argument(
        "file", metavar="FILE"
    )
    export = command("export", "write ratings for training, or everything as a bundle, also while the studio runs")
    export.add_argument("file", metavar="FILE")
    export.add_argument(
        "--format", choices=("sft", "dpo", "kto", "csv", "bundle"), default="bundle", help="what to write (bundle)"
    )
    command("import", "add a bundle or training rows to the library; the studio must not run").add_argument(
        "file", metavar="FILE"
    )
    command("doctor", "check the data folder, the database, the files and the models; changes nothing")
    models = command("models", "list models, or get, verify or remove one")
    models.add_argument("action", nargs="?", choices=("list", "get", "verify", "remove"), default="list")
    models.add_argument("model_id", nargs="?", metavar="MODEL", default=None)
    return parser
