"""The incidents' folder: each is written whole or not at all, for its owner's eyes only, and the oldest make room."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..codec import MalformedError
from . import incident as incidents
from .incident import Incident
from .mask import Mask, escaped
from .report import report

FOLDER = "incidents"
"""In the state folder."""
RECORD = "incident.json"
PAGE = "report.md"
_LONGEST_RECORD = 4 * 1024 * 1024
_TRIES = 1000
"""Incidents of one instance and cause within one second."""
_ABANDONED = 3600.0
"""Seconds from which a half-written incident is nobody's any more."""
_SHARE = 4
"""No incident takes more than a fourth of what all may take."""


@dataclass(frozen=True)
class Store:
    """Where incidents are kept, and how many."""

    folder: Path
    keep: int = 100
    """How many; 0: none is made."""
    max_size: int = 100 * 1024 * 1024
    """Bytes that all of them may take."""

    def add(self, incident: Incident, files: Mapping[str, str], mask: Mask) -> Incident:
        """Write an incident, masked, with these texts beside it; return it as it was written. Raises OSError."""
        incident = replace(incident, jobs=incident.jobs.short)
        record = len(_record(_masked(incident, mask)).encode(errors="replace"))
        masked = {name: escaped(mask.text(text)) for name, text in files.items() if text}
        texts, left_out = self._affordable(masked, record)
        missing = {**incident.missing, **dict.fromkeys(left_out, "larger than incidents.max_size allows")}
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        wanted = replace(incident, files=(RECORD, PAGE, *texts), missing=missing)
        temporary = self.folder / f".{incident.id}.{os.getpid()}.tmp"
        try:
            temporary.mkdir(mode=0o700)
            for name, text in texts.items():
                _write(temporary / name, text)
            written = self._named(temporary, wanted, mask)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self.prune()
        return written

    def _named(self, temporary: Path, incident: Incident, mask: Mask) -> Incident:
        """Write the record and the page, and give the folder its name: the first that is free."""
        for number in range(1, _TRIES):
            name = incident.id if number == 1 else f"{incident.id}-{number}"
            if (self.folder / name).exists():
                continue
            masked = _masked(replace(incident, id=name), mask)
            _write(temporary / RECORD, _record(masked))
            _write(temporary / PAGE, report(masked))
            with contextlib.suppress(FileExistsError):
                temporary.rename(self.folder / name)
                return masked
        raise FileExistsError(incident.id)

    def _affordable(self, texts: dict[str, str], record: int) -> tuple[dict[str, str], list[str]]:
        """Return the texts for which there is room beside the record and the page, and the names of the others."""
        room, taken, left_out = self.max_size // _SHARE - 2 * record, {}, []
        for name, text in texts.items():
            size = len(text.encode(errors="replace"))
            if size <= room:
                taken[name] = text
                room -= size
            else:
                left_out.append(name)
        return taken, left_out

    def amend(self, name: str, change: Callable[[Incident], Incident]) -> None:
        """Write an incident's record and page anew; raises OSError, MalformedError. One that is gone stays so."""
        folder = self.folder / name
        try:
            changed = change(load(self.folder, name))
            changed = _masked(replace(changed, jobs=changed.jobs.short), Mask())
        except FileNotFoundError:
            return
        for file, text in ((RECORD, _record(changed)), (PAGE, report(changed))):
            temporary = folder / f".{file}.{os.getpid()}.tmp"
            temporary.unlink(missing_ok=True)
            try:
                _write(temporary, text)
                temporary.replace(folder / file)
            finally:
                temporary.unlink(missing_ok=True)

    def prune(self) -> None:
        """Remove the oldest until there are no more, and no larger ones, than are to be kept; the newest stays."""
        for left in self.folder.glob(".*.tmp"):  # of a listener that was killed; others may be at work on theirs
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > _ABANDONED:
                    shutil.rmtree(left, ignore_errors=True)
        size = 0
        for number, name in enumerate(names(self.folder)):
            size += _size(self.folder / name)
            if number and (number >= self.keep or size > self.max_size):
                shutil.rmtree(self.folder / name, ignore_errors=True)


def names(folder: Path) -> list[str]:
    """Return the incidents' ids, the newest first; none where there is no such folder. Raises OSError."""
    try:
        found = [entry.name for entry in os.scandir(folder) if incidents.instance_of(entry.name)]
    except FileNotFoundError:
        return []
    return sorted(found, key=_age, reverse=True)


def _age(name: str) -> tuple[str, int, str]:
    """Return what ids are sorted by: the moment, then the number that was needed to tell it from others."""
    stamp, _, rest = name.partition("-")
    number = rest.rpartition("-")[2]
    return stamp, int(number) if number.isdecimal() else 1, rest


def load(folder: Path, name: str) -> Incident:
    """Return one incident; raises OSError, MalformedError."""
    with (folder / name / RECORD).open("rb") as file:
        content = file.read(_LONGEST_RECORD + 1)
    if len(content) > _LONGEST_RECORD:
        raise MalformedError("too long")
    return incidents.read(content)


def every(folder: Path, instance: str = "") -> Iterator[Incident]:
    """Yield the incidents that can be read, of one instance or of all, the newest first.

    Raises OSError if the folder can't be.
    """
    for name in names(folder):
        if instance and incidents.instance_of(name) != instance:
            continue
        with contextlib.suppress(OSError, MalformedError):
            yield load(folder, name)


def newest(folder: Path, instance: str) -> Incident | None:
    """Return an instance's newest incident that can be read; None: there is none."""
    with contextlib.suppress(OSError):
        return next(every(folder, instance), None)
    return None


def page(folder: Path, name: str) -> str:
    """Return an incident's page; raises OSError."""
    return (folder / name / PAGE).read_text(encoding="utf-8", errors="backslashreplace")


def archive(folder: Path, name: str) -> bytes:
    """Return an incident's folder as a tar.gz, masked once more; raises OSError."""
    packed, mask = io.BytesIO(), Mask()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for file in sorted((folder / name).iterdir()):
            if file.name.startswith(".") or file.is_symlink() or not file.is_file():
                continue
            text = file.read_text(encoding="utf-8", errors="backslashreplace")
            content = (text if file.suffix == ".json" else mask.text(text)).encode()
            entry = tarfile.TarInfo(f"{name}/{file.name}")
            entry.size, entry.mode, entry.mtime = len(content), 0o600, int(file.stat().st_mtime)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _masked(incident: Incident, mask: Mask) -> Incident:
    return incidents.read(json.dumps(mask.value(incidents.plain(incident))))


def _record(incident: Incident) -> str:
    return json.dumps(incidents.plain(incident), indent=1) + "\n"


def _write(file: Path, text: str) -> None:
    """Write a new file for its owner's eyes only; raises OSError."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(text)


def _size(folder: Path) -> int:
    total = 0
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError):
                total += entry.stat(follow_symlinks=False).st_size
    return total
