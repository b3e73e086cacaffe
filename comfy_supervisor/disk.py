"""Write what was rendered: whole or not at all, and for its owner's eyes only."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from .errors import UserError
from .model import Account, File

_IN_THE_WAY = "a file is in the way: move it, or choose another folder (paths.state, paths.run, paths.logs)"
MENDS = {
    errno.EEXIST: _IN_THE_WAY,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space",
    errno.EROFS: "the file system is read-only: choose another folder (paths.state, paths.run, paths.logs)",
    errno.EACCES: "not permitted: give us the folder, or choose another (paths.state, paths.run, paths.logs)",
    errno.EPERM: "not permitted: give us the folder, or choose another (paths.state, paths.run, paths.logs)",
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
    """Tell whether writing the file would change anything."""
    return current(file.path) != file.content


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

    A folder with a mode is ours; what is in it changes hands with it.
    """
    with _explained(path):
        path.mkdir(parents=True, exist_ok=True)
        if mode is not None and path.stat().st_mode & stat.S_ISVTX:
            raise UserError(f"{path}: is everybody's, as /tmp is; choose a folder of your own inside of it")
        if mode is not None and path.stat().st_mode & 0o777 != mode:
            path.chmod(mode)
        if owner and path.stat().st_uid != owner.uid:
            if mode is not None:
                _hand_over(path, owner)
            os.chown(path, owner.uid, owner.gid)


def _hand_over(folder: Path, owner: Account) -> None:
    """Give an account what the folder's owner so far has in it; the folder itself comes last, and is the caller's.

    Nothing else is touched, and no link followed: where that owner is no root either, nobody's files but its own
    can be smuggled in.
    """
    before = folder.stat().st_uid
    for _, folders, files, descriptor in os.fwalk(folder, topdown=False):
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
