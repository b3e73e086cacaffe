"""Import a module from another source than its file's."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType


class _Mutated(importlib.machinery.SourceFileLoader):
    """Loads a module from a source of ours."""

    source = ""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002
        return compile(self.source, self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds that module."""

    def __init__(self, file: Path, name: str, source: str) -> None:
        self.name, self.loader = name, _Mutated(name, str(file))
        self.loader.source = source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.loader.path, loader=self.loader)


def import_from(source: str, name: str, file: str) -> None:
    """Have a module that is not imported yet be this source, whenever it will be."""
    sys.meta_path.insert(0, _Finder(Path(file).resolve(), name, source))
