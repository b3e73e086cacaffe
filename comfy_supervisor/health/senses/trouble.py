"""What it means that a question to ComfyUI ended in an error. Pure."""

from __future__ import annotations

import http.client
import ssl

import requests
import urllib3

from ...bounded import causes
from ..policy.evidence import Reply

_LONGEST = 200
"""Characters of an error's text that are kept."""
_FOREIGN = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, ssl.SSLError)
"""What an answer that is none of HTTP's ends in. Some of them are OSErrors as well."""


def meaning(error: BaseException, deadline: float) -> tuple[Reply, str]:
    """Return what the error says of the instance that was asked, and that in words.

    Only what the kernel says of the other side is the other side's failure. Where it is ourselves that lack a
    descriptor, memory, or an address, nothing is said of the instance.
    """
    chain = tuple(causes(error))

    def is_one(*kinds: type[BaseException]) -> bool:
        return any(isinstance(each, kinds) for each in chain)

    if is_one(TimeoutError):
        return Reply.TIMEOUT, f"no whole answer within {deadline:g} s"
    if is_one(ConnectionRefusedError):
        return Reply.REFUSED, "connection refused"
    if is_one(ConnectionError):
        return Reply.REFUSED, "the connection was closed without an answer"
    ours = not isinstance(error, _FOREIGN) or any(
        isinstance(each, OSError | MemoryError) and not isinstance(each, _FOREIGN) for each in chain
    )
    text = str(chain[-1]) or type(chain[-1]).__name__
    return (Reply.UNASKED if ours else Reply.STRANGE), text[:_LONGEST]
