"""The stand-in's entry, run as ComfyUI's: ``python …/standin/main.py --port 8188 …``, from any folder.

$STANDIN_RELEASE chooses the release that is imitated, $STANDIN_START what goes wrong at the start.
"""

from __future__ import annotations

import argparse
import dataclasses
import faulthandler
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from comfy_supervisor.standin import log_format, start_faults
from comfy_supervisor.standin.comfy import options
from comfy_supervisor.standin.configuration import configuration
from comfy_supervisor.standin.notice import NOTICE
from comfy_supervisor.standin.release import COLOURED_LOG, FAULTHANDLER

_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""The variables by which OpenSSL finds them: SSL_CTX_set_default_verify_paths(3)."""
_FOLDERS_THAT_MUST_EXIST = ("user_directory", "models_directory", "front_end_root")

_log = logging.getLogger("standin")


def main() -> None:
    """Parse the command line, say what this is, and serve until SIGINT; a bad command line exits 2."""
    options.enable_args_parsing()
    from comfy_supervisor.standin.comfy.cli_args import args, parser  # noqa: PLC0415  # parses when imported
    from comfy_supervisor.standin.comfyui_version import __version__  # noqa: PLC0415  # as the parser, only now

    orders = os.environ.get("STANDIN_START", "")
    if trouble := _missing_folder(args) or start_faults.trouble(orders):
        parser.error(trouble)
    _start(args, __version__, orders)


def _missing_folder(args: argparse.Namespace) -> str:
    """Return argparse's complaint if a folder that ComfyUI wants to exist does not."""
    for name in _FOLDERS_THAT_MUST_EXIST:
        path = vars(args).get(name)
        if path is not None and not Path(path).is_dir():
            wrong = f"'{path}' is not a directory." if Path(path).exists() else f"The path '{path}' does not exist."
            return f"argument --{name.replace('_', '-')}: {wrong}"
    return ""


def _start(args: argparse.Namespace, version: str, orders: str) -> None:
    """Set up the process as the release does, do what was ordered for the start, and serve."""
    chosen = configuration(args, version, os.environ, tuple(sys.argv))
    chosen = dataclasses.replace(chosen, cpu=chosen.cpu or start_faults.falls_back_to_cpu(orders))
    log_format.set_up(to_stdout=args.log_stdout, coloured=chosen.release.has(COLOURED_LOG))
    if chosen.release.has(FAULTHANDLER):
        faulthandler.enable(all_threads=vars(args).get("debug_hang", False))
    print(f"\n{'!' * len(NOTICE)}\n{NOTICE}\n{'!' * len(NOTICE)}\n", file=sys.stderr, flush=True)  # noqa: T201  # even with --log-stdout
    _log.info("Python version: %s", sys.version)
    _log.info("ComfyUI version: %s (imitated)", version)
    _log.info("Device: %s", "cpu" if chosen.cpu else "cuda:0 (pretended)")
    start_faults.apply(orders)
    if args.quick_test_for_ci:
        return
    with without_authorities():
        from comfy_supervisor.standin.server import serve  # noqa: PLC0415  # aiohttp waits until all else is right

    serve(chosen)


@contextmanager
def without_authorities() -> Iterator[None]:
    """Have OpenSSL know no certificate authorities.

    aiohttp reads all of the system's twice as it is imported, which is a sixth of a start; the stand-in asks nobody.
    """
    before = {name: os.environ.get(name) for name in _AUTHORITIES}
    os.environ.update(dict.fromkeys(_AUTHORITIES, os.devnull))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


if __name__ == "__main__":
    main()
