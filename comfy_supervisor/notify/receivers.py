"""One message to one receiver, within a deadline. What is said of a failure has nothing of a URL or a header in it."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3

from ..bounded import Client, causes
from .config import Receiver, SecretError, revealed
from .message import Message

DEADLINE = 10.0
"""Seconds for a webhook's whole answer."""
APPRISE_DEADLINE = 30.0
"""Seconds for apprise, its start included."""
MISSING = "apprise isn't installed: pip install comfy-supervisor[notify]"
_CHILD = Path(__file__).with_name("apprise_child.py")
_FINE = range(200, 300)
_MOVED = range(300, 400)
_TROUBLES = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, http.client.HTTPException, ValueError)


def send(receiver: Receiver, message: Message, environ: Mapping[str, str]) -> str:
    """Send a message; return why that did not work, in words, empty if it did. Raises nothing."""
    try:
        url = revealed(receiver.url, environ)
        if receiver.webhook:
            headers = {name: revealed(value, environ) for name, value in receiver.headers.items()}
            return _post(url, headers, message)
    except SecretError as error:
        return str(error)
    return _through_apprise(url, message)


def _post(url: str, headers: Mapping[str, str], message: Message) -> str:
    """Post the message as JSON. A redirect isn't followed: it would take the secrets elsewhere."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "expected an http:// or https:// URL"
    path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    client = Client(f"{parts.scheme}://{parts.netloc}", headers=headers, verify=True)
    try:
        with client.ask(path, DEADLINE, message.values(), once=True) as answer:
            status = answer.status
    except _TROUBLES as error:
        return _explained(error)
    finally:
        client.close()
    if status in _MOVED:
        return f"HTTP {status}: it redirects, which is not followed; set the URL that it means"
    return "" if status in _FINE else f"HTTP {status}"


def _explained(error: BaseException) -> str:
    """Return what went wrong by its kind: the error's own words may have the URL in them."""
    chain = list(causes(error))
    kinds: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
        (ssl.SSLCertVerificationError, "its certificate can't be verified"),
        (ssl.SSLError, "no TLS with it"),
        (socket.gaierror, "its name can't be found"),
        (ConnectionRefusedError, "nobody listens there"),
        ((TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError), f"no whole answer within {DEADLINE:g} s"),
    )
    for kind, told in kinds:
        if any(isinstance(each, kind) for each in chain):
            return told
    return f"it can't be reached ({type(chain[-1]).__name__})"


def _through_apprise(url: str, message: Message) -> str:
    """Have apprise send it, in a process that can be given up: some of its plugins wait without an end.

    The URL goes through a pipe: neither an argument nor the environment shows it.
    """
    if importlib.util.find_spec("apprise") is None:
        return MISSING
    order = json.dumps({"url": url, "title": message.subject, "body": message.text}).encode()
    shield = "-I" if sys.flags.isolated else "-E"
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            [sys.executable, shield, str(_CHILD)],
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        return f"apprise can't be started: {error.strerror}"
    try:
        answer, _ = process.communicate(order, timeout=APPRISE_DEADLINE)
    except subprocess.TimeoutExpired:
        return f"no whole answer within {APPRISE_DEADLINE:g} s"
    finally:
        _end(process)
    with suppress(ValueError, LookupError, TypeError):
        return str(json.loads(answer)["trouble"])
    return f"apprise ended with exit status {process.returncode}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is still there of it, and close its pipes."""
    if process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
    for stream in (process.stdin, process.stdout):
        if stream:
            stream.close()
