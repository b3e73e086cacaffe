"""Whether a backend that knows ComfyUI as ``http://localhost:8188`` goes on as before."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..bounded import Client
from ..health.senses import probe
from ..rendered import Rendered
from ..status import REFUSED
from .ask import ask
from .line import Line, fails, holds

ITEM = "backend"
_NO_PROMPT = 400
_FORBIDDEN = 403
_MEND_DOWN = "comfy-supervisor status, logs"
_UNQUEUED = {"number": 0}
"""What ``POST /prompt`` refuses with 400, having queued nothing: it has no ``prompt``. The number keeps ComfyUI's own
counter where it is (server.py: ``post_prompt``)."""


@dataclass(frozen=True)
class Reach:
    """How ComfyUI is reached under the name ``localhost``."""

    url: str
    """``http://localhost:8188``."""
    answers: tuple[tuple[str, str], ...] = ()
    """Each address of the name, as the resolver orders them, with what was wrong; empty: ComfyUI answers there."""
    posted: int = 0
    """HTTP's status of a POST without a job in it; 0: there was no answer."""
    origin: str = ""
    """The web page that the POST said to come from."""
    trouble: str = ""
    """Why the name means nothing here."""


def look(instance: Rendered, cors_origin: str) -> Reach:
    """Ask by that name as a backend does, and as a web page does that may: a POST that queues nothing."""
    scheme = urlsplit(instance.url).scheme
    url = f"{scheme}://localhost:{instance.port}"
    try:
        found = socket.getaddrinfo("localhost", instance.port, type=socket.SOCK_STREAM)
    except OSError as error:
        return Reach(url, trouble=error.strerror or str(error))
    hosts = dict.fromkeys(str(address[0]) for *_, address in found)
    answers = tuple((host, _asked(scheme, host, instance.port)) for host in hosts)
    origin = cors_origin if cors_origin not in ("", "*") else url
    client = Client(url, {"Origin": origin})
    posted = ask(client, "/prompt", _UNQUEUED).status
    client.close()
    return Reach(url, answers, posted, origin)


def _asked(scheme: str, host: str, port: int) -> str:
    """Return what is wrong with ComfyUI's answer at an address; empty: nothing."""
    answer = probe.prompt(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")
    return "" if answer.ready else answer.error


def judge(found: Reach, rendered: Sequence[str], wanted: Sequence[str], *, runs: bool = True) -> Line:
    """Say whether a backend need not be changed.

    ``rendered``: where it was told to listen; ``wanted``: where the settings want it to; ``runs``: whether there is a
    process that could.
    """
    figures = {"url": found.url, "answers": dict(found.answers), "post_status": found.posted, "origin": found.origin}
    silent = [(host, trouble) for host, trouble in found.answers if trouble]
    strangers = [(host, trouble) for host, trouble in silent if trouble != REFUSED]
    if found.trouble:
        return fails(ITEM, f"localhost: {found.trouble}", "add 127.0.0.1 localhost to /etc/hosts", figures=figures)
    if list(rendered) != list(wanted):
        text = f"listens on {', '.join(rendered)}, though the settings say {', '.join(wanted)}"
        return fails(ITEM, text, "comfy-supervisor apply", figures=figures)
    if len(silent) == len(found.answers) or strangers:
        told = ", ".join(f"{host} ({trouble})" for host, trouble in strangers or silent)
        mend = "comfyui.listen must have 127.0.0.1; ss -ltnp shows who else is at that port"
        mend = mend if runs or strangers else _MEND_DOWN
        return fails(ITEM, f"{found.url} does not reach it: {told}", mend, figures=figures)
    if found.posted != _NO_PROMPT:
        return fails(ITEM, *_refused(found), figures=figures)
    good = ", ".join(host for host, trouble in found.answers if not trouble)
    text = f"{found.url} answers ({good}), and takes POST /prompt"
    if not silent:
        return holds(ITEM, text, figures=figures)
    refusing = ", ".join(host for host, _ in silent)
    mend = f'for clients that try only the first address of the name: comfyui.listen = "{_both(wanted, silent)}"'
    return holds(ITEM, f"{text}; nobody at {refusing}", mend, figures=figures)


def _refused(found: Reach) -> tuple[str, str]:
    """Return what became of the POST, with the mend."""
    if found.posted == _FORBIDDEN:
        mend = "comfyui.cors_origin names a web page's origin that may call it; a proxy must hand on Host as it is"
        return f"{found.url}: POST /prompt from {found.origin} is forbidden", mend
    status = f"HTTP {found.posted}" if found.posted else "no answer"
    return f"{found.url}: POST /prompt without a job: {status}, not {_NO_PROMPT}", "comfy-supervisor logs"


def _both(wanted: Sequence[str], silent: Sequence[tuple[str, str]]) -> str:
    """Return ``comfyui.listen`` with the addresses that nobody listens on."""
    hosts = (address.rpartition(":")[0].strip("[]") for address in wanted)
    return ",".join((*hosts, *(host for host, _ in silent)))
