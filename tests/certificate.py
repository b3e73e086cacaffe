"""A certificate of its own signature, in a name that isn't this machine's."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate in a folder; return its file and its key's. Skips the test where openssl is missing."""
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("needs the command openssl, which makes the certificate")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subject = ["-subj", "/CN=elsewhere.example", "-days", "2"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command = [openssl, "req", "-x509", "-nodes", *curve, *subject, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key
