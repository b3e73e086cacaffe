"""What a broken custom node does to the process that it lives in: ``StandinCrash`` with ``how: exit`` and these codes.

The stand-in takes no nodes from others, but imports their packages, as ComfyUI does.
"""

import os
import subprocess

from comfy_supervisor.standin import fault_nodes

NODE_CLASS_MAPPINGS = {}
_exit = fault_nodes.CRASHES["exit"]


def _children():
    """Leave processes behind that have children, hold all descriptors, and hear neither SIGINT nor SIGTERM."""
    script = "trap '' INT TERM; sleep 1000 & sleep 1000 & wait"
    for _ in range(5):
        subprocess.Popen(["/bin/sh", "-c", script], close_fds=False)


def _moves_house():
    os.chdir("/")
    os.umask(0o777)
    os.close(0)


def _closes_all():
    os.closerange(0, 4096)


def _system_exit():
    raise SystemExit(3)


DEEDS = {200: _children, 201: _moves_house, 202: _closes_all, 203: _system_exit}


def _dispatch(code):
    DEEDS.get(code, lambda: _exit(code))()


fault_nodes.CRASHES["exit"] = _dispatch
