"""Runs in ComfyUI's interpreter: imports torch and tells what it can do. A script for `interpreter.ask`.

It runs as ComfyUI would, user's packages included, and needs nothing but the standard library of ours.
"""

from __future__ import annotations

import sys

sys.path[:] = [path for path in sys.path if not __file__.startswith(f"{path}/ask_")]
# our own folder, where the interpreter found this script: a module torch.py lies in it

import importlib  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import warnings  # noqa: E402


def main() -> None:
    """Write the facts, as many as there are, to the descriptor that the argument names."""
    descriptor = int(sys.argv[1])
    facts: dict[str, object] = {"python": platform.python_version()}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            gather(facts)
        except BaseException as error:  # noqa: BLE001  # torch's import can end in anything; a fact as well
            facts["error"] = f"{type(error).__name__}: {error}"
    for warning in caught:  # torch explains an unusable CUDA in a warning
        if "CUDA" in str(warning.message):
            facts.setdefault("error", str(warning.message))
    with open(descriptor, "w", encoding="ascii") as file:
        json.dump(facts, file)


def gather(facts: dict[str, object]) -> None:
    """Fill in what torch says, the surest first: what is known stays known when a later call fails."""
    torch = importlib.import_module("torch")
    facts["torch"] = str(torch.__version__)
    facts["cuda"] = torch.version.cuda or ""
    facts["cuda_available"] = torch.cuda.is_available()
    facts["device_count"] = torch.cuda.device_count()
    facts["arch_list"] = torch.cuda.get_arch_list()
    facts["device_names"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


if __name__ == "__main__":
    main()
