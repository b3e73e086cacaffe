"""ComfyUI behind a certificate of the user's: every command goes on reaching it."""

from __future__ import annotations

from tests.certificate import make_certificate
from tests.cli.service import Service


def test_an_api_that_speaks_https_is_reached(service: Service) -> None:
    certificate, key = make_certificate(service.folder)
    service.settings(comfyui={"extra_args": [f"--tls-certfile={certificate}", "--tls-keyf", str(key)]})
    done = service.run("up", "-d")
    assert done.returncode == 0, done
    assert "Warning" not in done.stderr
    (row,) = service.status()
    assert (row["url"], row["ready"]) == (f"https://127.0.0.1:{service.port}", True)


def test_half_a_certificate_is_none(service: Service) -> None:
    """As ComfyUI has it."""
    certificate, _ = make_certificate(service.folder)
    service.settings(comfyui={"extra_args": ["--tls-certfile", str(certificate)]})
    service.ok("up", "-d")
    (row,) = service.status()
    assert (row["url"], row["ready"]) == (service.url, True)
