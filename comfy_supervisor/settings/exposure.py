"""What lets others than this machine's users reach ComfyUI's API: an address, or an origin. Pure.

The API has no password, and a workflow runs code: whoever reaches it acts as the account that ComfyUI runs as.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

ANY_ORIGIN = ("*", "null")
"""What every web page can satisfy: one in a sandboxed frame has the origin null."""
_MEANT = "can run code on this machine as ComfyUI's account, without a password; set security.expose = true to allow it"


def is_loopback(address: str) -> bool:
    """Tell whether an address is reached from this machine alone."""
    if address == "localhost":
        return True
    found = ipaddress.ip_address(address)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


def is_open(listen: str) -> bool:
    """Tell whether one of the addresses is reached from elsewhere."""
    return not all(map(is_loopback, listen.split(",")))


def is_any_origin(origin: str) -> bool:
    """Tell whether a browser lets every web page read the API's answers; it cuts the header's blanks off."""
    return origin.strip().lower() in ANY_ORIGIN


def exposures(listen: str, cors_origin: str) -> Iterator[tuple[str, str, str]]:
    """Yield what has to be allowed by ``security.expose``: (key, value, what it means and the mend)."""
    if is_open(listen):
        yield "comfyui.listen", listen, f"whoever reaches this address {_MEANT}"
    if is_any_origin(cors_origin):
        yield "comfyui.cors_origin", cors_origin, f"any web page open in a browser that reaches it {_MEANT}"
