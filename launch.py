"""Start the studio, or run one of its commands: parse flags → Settings → services → pages. No logic beyond the wiring.

Exit codes: 0 stopped by the user; 2 bad usage or a refused start, with one line that says what to do.
"""

from __future__ import annotations

import signal
import sys

from engine.arguments import parse
from engine.errors import StudioError


def main(argv: list[str] | None = None) -> int:
    """Run until the user stops it; returns the exit code."""
    # SIGTERM ends the studio as Ctrl-C does, also while it starts.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        command, flags = parse(argv)
        from engine.settings import read_settings  # below here: what `--help` need not load

        settings = read_settings(flags)
        if command.command is not None:
            from engine.commands import run

            return run(command, settings)
        from engine.bootstrap import build_studio, check_profile
        from engine.logs import configure_logging
        from ui.server import check_port, serve

        check_profile(settings)
        check_port(settings.host, settings.port)
        studio = build_studio(settings)
        try:
            configure_logging(settings.logs_dir)
            serve(studio)
        finally:
            going_on = studio.training.going_on()
            studio.close()
            for sentence in going_on:
                print(sentence, flush=True)
    except StudioError as error:
        print(f"tastemaker: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
