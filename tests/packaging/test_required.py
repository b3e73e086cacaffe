"""What .ci/run names in $REQUIRE may not be skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT

TESTS = """
import pytest

def test_skips():
    pytest.skip("for want of something")

@pytest.mark.skip(reason="for another reason")
def test_is_skipped(): ...

def test_passes(): ...
"""


@pytest.mark.parametrize(
    ("require", "counts"),
    [("other.py", "1 passed, 2 skipped"), ("other.py test_a.py", "1 failed, 1 passed, 1 error")],
)
def test_a_skip_of_what_is_required_is_a_failure_with_its_reason(require: str, counts: str, tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text(TESTS)
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.conftest",
        "-p",
        "no:xdist",
        "--rootdir",
        str(tmp_path),
        "-c",
        "/dev/null",
    ]
    done = subprocess.run(
        [*argv, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "REQUIRE": require},
        capture_output=True,
        text=True,
        check=False,
    )
    assert counts in done.stdout, done.stdout + done.stderr
    assert ("skipped, though $REQUIRE names it: for want of something" in done.stdout) == ("test_a" in require)
