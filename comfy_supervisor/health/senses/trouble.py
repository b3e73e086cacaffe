"""What it means that a question to ComfyUI ended in an error. Pure."""

from __future__ import annotations

import http.client
import ssl

import requests
import urllib3

from ...bounded import causes, in_words
from ..policy.evidence import Reply

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

    words = in_words(error, deadline)
    if is_one(TimeoutError):
        return Reply.TIMEOUT, words
    if is_one(ConnectionError):
        return Reply.REFUSED, words
    ours = not isinstance(error, _FOREIGN) or any(
        isinstance(each, OSError | MemoryError) and not isinstance(each, _FOREIGN) for each in chain
    )
    return (Reply.UNASKED if ours else Reply.STRANGE), words
