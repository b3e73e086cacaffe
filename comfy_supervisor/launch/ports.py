"""Whether ComfyUI will be able to listen where it is told to, and who is in the way if it won't."""

from __future__ import annotations

import errno
import os
import socket
import sys

_LISTEN = "0A"
"""TCP_LISTEN, as /proc/net/tcp writes it."""
_FREE = ("", "")


def addresses(text: str) -> list[tuple[str, int]]:
    """Return the (host, port) pairs of ``127.0.0.1:8188,[::1]:8188``; raises ValueError."""
    pairs = []
    for address in text.split(","):
        host, _, port = address.strip().rpartition(":")
        if not host or not 0 < int(port) < 65536:  # noqa: PLR2004
            raise ValueError(f"{address!r} is not HOST:PORT")
        pairs.append((host.strip("[]"), int(port)))
    return pairs


def trouble(host: str, port: int) -> str:
    """Return why nobody can listen there now, with the name of who holds the port; empty if it is free."""
    return explained(host, port)[0]


def explained(host: str, port: int) -> tuple[str, str]:
    """Return the same, and the cause's id, empty if it has none."""
    try:
        # As bytes: for a text Python would load its tables of international domain names first.
        found = socket.getaddrinfo(
            host.encode("idna" if not host.isascii() else "ascii"),
            port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )
    except (OSError, UnicodeError) as error:
        return f"the address {host} can't be resolved: {getattr(error, 'strerror', None) or error}", ""
    for family, _, _, _, address in found:
        code = _bind(family, address)
        if code == errno.EADDRINUSE:
            return f"port {port} is held by {holder(str(address[0]), port)}", "port_in_use"
        if code:
            cause = "permission_denied" if code == errno.EACCES else ""
            return f"nobody can listen on {host} port {port}: {os.strerror(code)}", cause
    return _FREE


def _bind(family: int, address: tuple[object, ...]) -> int:
    """Bind as asyncio's servers do, and let go; return the errno, 0 if it went well."""
    try:
        probe = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return 0  # a machine without IPv6: asyncio leaves such an address out, too
    with probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind(address)
        except OSError as error:
            return error.errno or errno.EIO
    return 0


def holder(host: str, port: int) -> str:
    """Return who listens on a port, in words: ``nginx (pid 123, user www-data)``, as far as can be told."""
    listeners = _listeners(port)
    if not listeners:
        return "another process"
    wanted = _kernel_form(host)
    inode, uid = min(listeners, key=lambda each: _mismatch(each[0], wanted))[1:]
    pid = _owner(inode)
    if not pid:
        return f"a process of another user or container (user {_user(uid)})"
    return f"{_name(pid)} (pid {pid}, user {_user(uid)})"


def _listeners(port: int) -> list[tuple[str, int, int]]:
    """Return (address as the kernel writes it, inode, uid) of the sockets that listen on a port."""
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="utf-8") as lines:
                rows = [line.split() for line in lines if f":{port:04X} " in line]
        except OSError:
            continue
        for row in rows:
            address, _, local_port = row[1].partition(":")
            if row[3] == _LISTEN and int(local_port, 16) == port:
                found.append((address, int(row[9]), int(row[7])))
    return found


def _kernel_form(host: str) -> str:
    """Write a numeric address as /proc/net/tcp does: 32-bit words in the machine's byte order."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    packed = socket.inet_pton(family, host.partition("%")[0])
    words = (packed[at : at + 4] for at in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)


def _mismatch(address: str, wanted: str) -> int:
    """Tell how badly a listener explains a conflict: 0 same address, 1 all addresses, 2 another one."""
    if address.endswith(wanted):  # also an IPv4 address inside of an IPv6 one
        return 0
    return 2 if address.strip("0") else 1


_owners: dict[int, int] = {}
"""Processes by inode: asking again every two seconds must not look at all descriptors of the machine again."""


def _owner(inode: int) -> int:
    """Return the pid of a process that has a socket open, 0 if it can't be told."""
    link = f"socket:[{inode}]"
    known = _owners.get(inode, 0)
    if known and _has_open(known, link):
        return known
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    _owners[inode] = next((pid for pid in pids if _has_open(pid, link)), 0)
    return _owners[inode]


def _has_open(pid: int, link: str) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        return any(_target(f"{folder}/{descriptor}") == link for descriptor in os.listdir(folder))
    except OSError:
        return False


def _target(link: str) -> str:
    """Return what a link points to; empty if it is gone: a process at work closes descriptors while they are read."""
    try:
        return os.readlink(link)
    except OSError:
        return ""


def _name(pid: int) -> str:
    """Return what a process calls itself, which may be anything."""
    from . import lastword  # noqa: PLC0415  only when there is something to tell

    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return lastword.printable(file.read())
    except OSError:
        return "a process"


def _user(uid: int) -> str:
    import pwd  # noqa: PLC0415  only when there is something to tell

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
