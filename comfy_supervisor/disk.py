"""Write what was rendered: whole or not at all, and for its owner's eyes only."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from . import machine
from .errors import UserError
from .model import Account, File

_KEYS = "(paths.state, paths.run, paths.logs)"
_IN_THE_WAY = f"a file is in the way: move it, or choose another folder {_KEYS}"
_NOT_PERMITTED = f"not permitted: give us the folder, or choose another {_KEYS}"
MENDS = {
    errno.EEXIST: _IN_THE_WAY,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EROFS: f"the file system is read-only: choose another folder {_KEYS}",
    errno.EACCES: _NOT_PERMITTED,
    errno.EPERM: _NOT_PERMITTED,
}


def write(files: Iterable[File]) -> list[Path]:
    """Write files atomically, each durable before it replaces the old one; return those that changed.

    All are laid down beside their places first, so that a full disk is met before anything is replaced.
    Raises UserError with the mend; the old files are then as they were.
    """
    changed = [file for file in files if differs(file)]
    with contextlib.ExitStack() as stack:
        laid = [(_lay_down(file, stack), file.path) for file in changed]
        for temporary, path in laid:
            with _explained(path):
                temporary.replace(path)
    return [file.path for file in changed]


def differs(file: File) -> bool:
    """Tell whether writing the file would change anything: what it holds, or who may read it."""
    return current(file.path) != file.content or mode(file.path) != file.mode


def mode(path: Path) -> int | None:
    """Return a file's mode; None if there is none. Raises UserError if it can't be told."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise explained(path, error) from error


def current(path: Path) -> str | None:
    """Return what a file holds now; None if there is none. Raises UserError if it can't be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        return ""
    except OSError as error:
        raise explained(path, error) from error


def make_folder(path: Path, mode: int | None = None, owner: Account | None = None) -> None:
    """Make a folder, with its mode and owner if given, also where it was there already; raises UserError.

    A folder with a mode is ours; what is in it changes hands with it. An owner, whom only root may give, makes it
    itself where anybody but root could change the way to it: by a link, root would give another folder away.
    """
    with _explained(path):
        if owner and not _is_roots_alone(path.parent):
            _make_as(owner, path, mode)
            return
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError as error:  # as in /proc
            raise UserError(f"{path}: no folder can be made there: choose another {_KEYS}") from error
        if mode is not None and path.stat().st_mode & stat.S_ISVTX:
            raise UserError(f"{path}: is everybody's, as /tmp is; choose a folder of your own inside of it")
        if owner:
            _give(path, mode, owner)
        elif mode is not None and path.stat().st_mode & 0o777 != mode:
            path.chmod(mode)


def _is_roots_alone(path: Path, links: int = 40) -> bool:
    """Tell whether nobody but root can change where a path leads, as far as it is there.

    In a folder like /tmp others may add to what root has there, not replace it. 40 links: as many as the kernel takes.
    """
    for part in (*reversed(path.parents), path):
        try:
            status = os.lstat(part)
        except FileNotFoundError:
            return True
        if status.st_uid != 0 or not links:
            return False
        if stat.S_ISLNK(status.st_mode):
            if not _is_roots_alone(part.parent / part.readlink(), links - 1):
                return False
        elif status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
            return False
    return True


def _make_as(owner: Account, path: Path, mode: int | None) -> None:
    """Have an account make a folder of its own; raises UserError if it can't, or can't write there."""
    script = 'mkdir -p -- "$1" && if [ "$2" ]; then chmod -- "$2" "$1"; fi && [ -w "$1" ]'
    code, _ = machine.ask_as(owner, script, str(path), "" if mode is None else f"{mode:o}")
    if code:
        mend = f"sudo install -d -o {owner.name} {shlex.quote(str(path))}"
        raise UserError(f"{path}: {owner.name} can't make it, or write there: {mend}")


def _give(path: Path, mode: int | None, owner: Account) -> None:
    """Give a folder to an account, by its descriptor: never where a link leads that stands in its place."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        status = os.fstat(descriptor)
        if mode is not None and status.st_mode & 0o777 != mode:
            os.fchmod(descriptor, mode)
        if status.st_uid != owner.uid:
            if mode is not None:
                _hand_over(descriptor, status.st_uid, owner)
            os.fchown(descriptor, owner.uid, owner.gid)
    finally:
        os.close(descriptor)


def _hand_over(folder: int, before: int, owner: Account) -> None:
    """Give an account what the folder's owner so far has in it; the folder itself comes last, and is the caller's.

    Nothing else is touched, and no link followed: where that owner is no root either, nobody's files but its own
    can be smuggled in.
    """
    for _, folders, files, descriptor in os.fwalk(".", topdown=False, dir_fd=folder):
        for name in (*folders, *files):
            with contextlib.suppress(FileNotFoundError):
                if os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_uid == before:
                    os.chown(name, owner.uid, owner.gid, dir_fd=descriptor, follow_symlinks=False)


def link(path: Path, target: Path) -> bool:
    """Point a link at a target, atomically; tell whether it stands. A file that is not a link stays as it is."""
    if path.is_symlink() and path.readlink() == target:
        return True
    if path.exists() and not path.is_symlink():
        return False
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(exist_ok=True)
        temporary.symlink_to(target)
        temporary.replace(path)
    except OSError:
        return False
    return True


def explained(path: Path, error: OSError) -> UserError:
    """Return an error of the file system as one line with its mend."""
    return UserError(f"{path}: {MENDS.get(error.errno or 0, error.strerror or str(error))}")


def _lay_down(file: File, stack: contextlib.ExitStack) -> Path:
    """Write a file beside its place; removed again when the stack unwinds, unless it was moved by then."""
    with _explained(file.path):
        descriptor, name = tempfile.mkstemp(prefix=f".{file.path.name}.", dir=file.path.parent)
        stack.callback(Path(name).unlink, missing_ok=True)
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(descriptor, file.mode)
            stream.write(file.content.encode())
            stream.flush()
            os.fsync(descriptor)
    return Path(name)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise explained(path, error) from error
