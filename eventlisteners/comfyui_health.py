"""``[eventlistener:comfyui-health]``: watches ComfyUI, and has supervisord restart it when it has stopped working.

Its one argument is the file that names what is to be watched.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from comfy_supervisor.health import listener, protocol

USAGE = "usage: python -m comfy_supervisor.eventlisteners.comfyui_health HEALTH.JSON (started by supervisord)"


def main(arguments: list[str]) -> int:
    """Listen until supervisord closes our input; return the exit code."""
    url = os.environ.get("SUPERVISOR_SERVER_URL", "")
    if len(arguments) != 1 or not url:
        sys.stderr.write(f"{USAGE}\n")
        return 2
    channel = protocol.take_output()
    listener.run(Path(arguments[0]), url, sys.stdin.buffer, channel)
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # threads that wait for a network or a driver are not waited for
