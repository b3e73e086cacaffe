"""``notify.json``: whom to tell, and of what. Written by render for its owner's eyes only, read by the listener."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..launch import records
from .message import Kind

FILE = "notify.json"
FOLDER = "notify"
"""Both in the state folder."""
_MOST_BYTES = 65536
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


class SecretError(Exception):
    """What a setting refers to can't be had; the text says why, and nothing of what is secret."""


@dataclass(frozen=True)
class Receiver:
    """One receiver, as the settings name it."""

    key: str
    """``notify.webhook`` or ``notify.urls[0]``."""
    url: str = field(repr=False)
    """The URL, or where it is to be had: ``env:NAME``, ``file:/path``."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of a webhook, each the like."""

    @property
    def webhook(self) -> bool:
        """Whether it gets plain JSON; else it is apprise's."""
        return self.key == "notify.webhook"

    @property
    def id(self) -> str:
        """What names it on disk, the same as long as its settings are: nothing of them can be told from it."""
        text = json.dumps([self.webhook, self.url, sorted(self.headers.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """How it is spoken of: without anything that is secret."""
        return f"{self.key} ({masked(self.url)})"


@dataclass(frozen=True)
class Config:
    """What the settings say of alerts; times in seconds."""

    urls: tuple[str, ...] = ()
    webhook: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    on: tuple[str, ...] = tuple(kind.value for kind in Kind)
    collect: float = 30.0
    max_age: float = 86400.0
    keep: int = 100

    @property
    def receivers(self) -> tuple[Receiver, ...]:
        """Whom to tell."""
        hook = [Receiver("notify.webhook", self.webhook, self.headers)] if self.webhook else []
        return (*hook, *(Receiver(f"notify.urls[{number}]", url) for number, url in enumerate(self.urls)))


def masked(url: str) -> str:
    """Return of a URL what anybody may know: its scheme. Where a secret lies is none itself."""
    if url.startswith(("env:", "file:")):
        return url
    found = _SCHEME.match(url)
    return f"{found[1].lower()}://…" if found else "…"


def text(config: Config) -> str:
    """Return the file's content, the same for the same settings."""
    return json.dumps({"v": 1, **asdict(config)}, indent=1, sort_keys=True) + "\n"


def read(file: Path) -> Config:
    """Return what a file says, nobody to tell where there is none; raises OSError, ValueError if it makes no sense."""
    try:
        with open(file, "rb", opener=records.open_plain) as stream:
            values: dict[str, Any] = json.loads(stream.read(_MOST_BYTES))
        values.pop("v")
        return Config(**{**values, "urls": _texts(values["urls"]), "on": _texts(values["on"])})
    except FileNotFoundError:
        return Config()
    except (TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ValueError(f"{file}: makes no sense; comfy-supervisor render writes it anew") from error


def _texts(values: Sequence[Any]) -> tuple[str, ...]:
    return tuple(str(each) for each in values)


def revealed(value: str, environ: Mapping[str, str]) -> str:
    """Return what a setting means: itself, a variable's text, or a file's that only its owner may read.

    Raises SecretError.
    """
    if value.startswith("env:"):
        name = value.removeprefix("env:")
        if not environ.get(name):
            raise SecretError(f"the environment variable {name} isn't set where this runs")
        return environ[name].strip()
    return _of_file(value.removeprefix("file:")) if value.startswith("file:/") else value


def _of_file(path: str) -> str:
    try:
        with open(path, "rb", opener=records.open_plain) as stream:
            if stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & 0o077:
                raise SecretError(f"{path}: others may read it; chmod 600 {path}")
            return stream.read(_MOST_BYTES).decode().strip()
    except UnicodeDecodeError as error:
        raise SecretError(f"{path}: not UTF-8") from error
    except OSError as error:
        raise SecretError(f"{path}: {error.strerror}") from error
