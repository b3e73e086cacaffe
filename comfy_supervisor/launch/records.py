"""Small JSON records on disk, written whole or not at all."""

from __future__ import annotations

import _thread
import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

_MOST_BYTES = 65536
"""No record of ours comes near this; a longer file is something else."""


class MalformedError(Exception):
    """A record that can't be read or makes no sense; the text says which file, and why."""


def read(path: str) -> dict[str, object] | None:
    """Return the JSON object in a file, None if there is no such file.

    Raises MalformedError for everything else that may be found there.
    """
    try:
        with open(path, "rb", opener=open_plain) as file:
            content = file.read(_MOST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise MalformedError(f"{path}: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise MalformedError(f"{path}: longer than {_MOST_BYTES} bytes")
    return _decoded(path, content)


def open_plain(path: str, flags: int) -> int:
    """Open a plain file: whoever owns the folder may have put a link in its place, or a pipe that nobody writes to.

    An opener for ``open``; raises OSError.
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "not a plain file", path)


def tail(stream: BinaryIO, most: int) -> bytes:
    """Return the last bytes of an open file, so many at most; raises OSError."""
    stream.seek(max(0, stream.seek(0, os.SEEK_END) - most))
    return stream.read(most)


def _decoded(path: str, content: bytes) -> dict[str, object]:
    import json  # noqa: PLC0415  the very first start has no record to read

    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"{path}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise MalformedError(f"{path}: not a JSON object")
    return value


def write(path: str, record: dict[str, object], replace: bool = True) -> None:
    """Write a record, in one step, in place of the file that is there; raises OSError.

    Without ``replace``, FileExistsError if there is one.
    Without fsync: what a power failure may take lived before a reboot, and a reboot starts afresh anyway.
    A record holds no secret and its folder is closed to others, so it is left readable: the command line, run
    as root, writes records that a launcher reads as another user.
    """
    import json  # noqa: PLC0415

    temporary = f"{path}.{os.getpid()}.{_thread.get_native_id()}.tmp"
    remove(temporary)  # of a thread that died here with the same number
    try:
        # O_EXCL follows no link: root may write into a folder that ComfyUI's user owns.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(record, file)
        if replace:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)
    finally:
        remove(temporary)


def set_aside(path: str) -> None:
    """Rename a malformed record to ``….bad``, for a person to look at; does nothing where that's impossible."""
    try:
        os.replace(path, f"{path}.bad")
    except OSError:
        remove(path)


def remove(path: str) -> None:
    """Remove a record; does nothing if there is none, or where that's impossible."""
    try:
        os.unlink(path)
    except OSError:
        return


def number(value: object) -> float:
    """Return a JSON number as a finite float, raises ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is not a number")
    try:
        result = float(value)
    except OverflowError as error:
        raise ValueError("a number out of range") from error
    if result - result != 0:  # infinity or NaN
        raise ValueError(f"{value!r} is not finite")
    return result
