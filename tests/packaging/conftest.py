"""The package, built once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFTOVERS = shutil.ignore_patterns("__pycache__", "*.egg-info", ".[!c]*", ".c[!i]*", "build", "dist")
"""What isn't the project's, but a tool's; ``.ci`` stays."""


def run(argv: Sequence[str | Path], cwd: Path, **environ: str) -> str:
    """Run a command that has to end well; return its standard output."""
    done = subprocess.run(
        argv, cwd=cwd, env={**os.environ, **environ}, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source: Path, kind: str) -> Path:
    """Build ``sdist`` or ``wheel``; return its file."""
    output = source.with_name(f"{source.name}-{kind}")
    run([sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", output], source)
    (built,) = output.iterdir()
    return built


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree, for what a build leaves behind."""
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("build") / "source", ignore=LEFTOVERS))


@pytest.fixture(scope="session")
def wheel(source: Path) -> Path:
    """The wheel that the source tree makes."""
    return build(source, "wheel")
