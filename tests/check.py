"""Every check, in order: `python -m tests.check [pytest arguments]`. CI runs the same.

Knows the tools' command lines; knows nothing of the studio. All four run even when one fails; the exit code is 1 then.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

CHECKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("format", ("ruff", "format", "--check", ".")),
    ("lint", ("ruff", "check", ".")),
    ("types", ("mypy",)),
    ("tests", ("pytest", "--durations=15")),
)


def main(arguments: list[str]) -> int:
    """Run the checks from the repository's root; `arguments` go to pytest. Returns the exit code."""
    results = []
    for name, (module, *rest) in CHECKS:
        print(f"\n== {name}", flush=True)
        started = time.monotonic()
        extra = arguments if name == "tests" else []
        code = subprocess.run([sys.executable, "-m", module, *rest, *extra], cwd=ROOT, check=False).returncode
        results.append((name, code, time.monotonic() - started))
    print()
    for name, code, duration_s in results:
        print(f"{'ok    ' if code == 0 else 'FAILED'} {name:<7} {duration_s:6.1f} s", flush=True)
    return 0 if all(code == 0 for _, code, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
