"""``python apprise_child.py``: sends one message by apprise, the only importer of that.

On standard input ``{"url", "title", "body"}``, on standard output ``{"trouble"}``: empty if all went well.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator
from typing import Any


class _Heard(logging.Handler):
    """Listens to what apprise says of a failure, for the HTTP status in it: the rest may hold what is secret."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.status = ""

    def emit(self, record: logging.LogRecord) -> None:
        found = re.search(r"\berror\s*=\s*(\d{3})\b", record.getMessage())
        self.status = found[1] if found else self.status


def _no_redirects(*_: Any, **__: Any) -> Iterator[Any]:
    """Follow none: it would take what is secret elsewhere."""
    return iter(())


def send(url: str, title: str, body: str) -> str:
    """Send a message; return why that did not work, empty if it did."""
    import apprise  # noqa: PLC0415  # no import of this module is to take its half a second
    import requests  # noqa: PLC0415

    requests.Session.resolve_redirects = _no_redirects  # type: ignore[method-assign]
    heard = _Heard()
    logging.getLogger("apprise").addHandler(heard)
    sender = apprise.Apprise()
    if not sender.add(url):
        return "apprise doesn't understand this URL"
    if sender.notify(body=body, title=title, body_format="text"):
        return ""
    return f"HTTP {heard.status}" if heard.status else "apprise could not deliver it"


def main() -> None:
    """Do what standard input says."""
    order = json.load(sys.stdin)
    try:
        trouble = send(order["url"], order["title"], order["body"])
    except Exception as error:  # noqa: BLE001  # a plugin's own error, whose text may hold what is secret
        trouble = f"apprise failed ({type(error).__name__})"
    json.dump({"trouble": trouble}, sys.stdout)


if __name__ == "__main__":
    if not sys.flags.isolated:
        del sys.path[0]  # this folder: its modules are not those that apprise means
    main()
