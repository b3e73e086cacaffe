"""How the stand-in was started: the part of ComfyUI's command line that it heeds."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from comfy_supervisor.standin.release import Release


@dataclass(frozen=True)
class Folders:
    """Where files are read and written."""

    output: Path
    input: Path
    temp: Path
    """Deleted at the start and at the end."""
    user: Path

    def of_type(self, name: str) -> Path | None:
        """Return the folder that clients call ``output``, ``input`` or ``temp``."""
        return {"output": self.output, "input": self.input, "temp": self.temp}.get(name)


@dataclass(frozen=True)
class Extensions:
    """Which packages of custom nodes are loaded."""

    files: tuple[str, ...] = ()
    """Those of ``--extra-model-paths-config``, which name the folders."""
    only: tuple[str, ...] | None = None
    """Names of packages and files, as they are in their folders; None: all."""


@dataclass(frozen=True)
class Configuration:
    """What the server needs to know of its command line and environment."""

    release: Release
    addresses: tuple[str, ...]
    port: int
    folders: Folders
    cpu: bool
    """No GPU is pretended."""
    quiet: bool
    """The address is not announced (``--dont-print-server``)."""
    cors_origin: str
    """Empty: requests of foreign pages are refused."""
    max_upload_mib: float
    tls: tuple[str, str] | None
    """The certificate's file and its key's; None: plain HTTP."""
    argv: tuple[str, ...]
    extensions: Extensions


def configuration(
    args: argparse.Namespace, version: str, environ: Mapping[str, str], argv: tuple[str, ...]
) -> Configuration:
    """Translate the parsed command line."""
    return Configuration(
        release=Release(version),
        addresses=tuple(args.listen.split(",")),
        port=args.port,
        folders=_folders(args, environ),
        cpu=args.cpu,
        quiet=args.dont_print_server,
        cors_origin=args.enable_cors_header,
        max_upload_mib=args.max_upload_size,
        tls=(args.tls_certfile, args.tls_keyfile) if args.tls_certfile and args.tls_keyfile else None,
        argv=argv,
        extensions=_extensions(args),
    )


def _extensions(args: argparse.Namespace) -> Extensions:
    """Return what is said of them: without ``--whitelist-custom-nodes``, ``--disable-all-custom-nodes`` means all."""
    given = vars(args)  # an option that the release does not have is missing
    files = tuple(itertools.chain.from_iterable(given["extra_model_paths_config"] or ()))
    return Extensions(
        files, tuple(given.get("whitelist_custom_nodes") or ()) if given["disable_all_custom_nodes"] else None
    )


def _folders(args: argparse.Namespace, environ: Mapping[str, str]) -> Folders:
    """Return the folders, as ComfyUI arranges them under its own folder or ``--base-directory``.

    The stand-in's own folder is part of an installed package, so a cache folder takes its place.
    """
    given = vars(args)  # an option that the release does not have is missing
    cache = environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    base = Path(given.get("base_directory") or Path(cache, "comfy-supervisor", "standin")).absolute()
    return Folders(
        output=Path(given["output_directory"] or base / "output").absolute(),
        input=Path(given["input_directory"] or base / "input").absolute(),
        temp=Path(given["temp_directory"] or base).absolute() / "temp",
        user=Path(given.get("user_directory") or base / "user").absolute(),
    )
