"""``make fuzz MINUTES=60``: try new inputs until the time is over, or something fails; then its exit code says so."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

FACTOR = "10"
"""How many times more each round tries than a run of the tests: some minutes of it."""


def main() -> int:
    """Return pytest's exit code of the round that failed, 0 if none did. A round that has begun is ended."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("minutes", type=float, nargs="?", default=10.0)
    over = time.monotonic() + 60 * parser.parse_args().minutes
    environ = {name: value for name, value in os.environ.items() if name != "CI"}  # where each round were the same
    command = [sys.executable, "-m", "pytest", "-nauto", "--timeout=1200", str(Path(__file__).parent)]
    while True:
        code = subprocess.run(command, env={**environ, "FUZZ_FACTOR": FACTOR}, check=False).returncode
        if code or time.monotonic() > over:
            return code


if __name__ == "__main__":
    raise SystemExit(main())
