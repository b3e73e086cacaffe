"""A node for a real ComfyUI that fails in the way it is told to, so that its log has what a real failure leaves."""

import ctypes
import os
import signal
import sqlite3
import sys
import time
import urllib.request
from pathlib import Path

import comfy.utils
import folder_paths
import torch
from tqdm import tqdm


class UnheardOfError(BaseException):
    """What ComfyUI's worker doesn't catch."""


def steps(count):
    shown = comfy.utils.ProgressBar(count)
    for _ in tqdm(range(count)):
        time.sleep(0.02)
        shown.update(1)


def worker_dies(_):
    raise UnheardOfError("the worker ends with this")


def killed(number):
    os.kill(os.getpid(), number)
    signal.pause()


def too_many_files(_):
    kept = [os.open(os.devnull, os.O_RDONLY) for _ in range(100000)]
    return len(kept)


def locked(file):
    keeper = sqlite3.connect(file, isolation_level=None)
    keeper.execute("create table if not exists seen (id)")
    keeper.execute("begin exclusive")
    sqlite3.connect(file, timeout=0.1).execute("insert into seen values (1)")


def full(file):
    with Path(file).open("wb") as stream:
        stream.write(bytes(64 << 20))


def fail(text):
    raise RuntimeError(text)


DEEDS = {
    "steps": steps,
    "worker_dies": worker_dies,
    "killed": killed,
    "segfault": lambda _: ctypes.string_at(0),
    "too_many_files": too_many_files,
    "locked": locked,
    "full": full,
    "fail": fail,
    "memory": lambda size: torch.empty(size, dtype=torch.uint8),
    "model": lambda name: folder_paths.get_full_path_or_raise("checkpoints", name),
    "load": lambda name: comfy.utils.load_torch_file(folder_paths.get_full_path_or_raise("checkpoints", name)),
    "write": lambda file: Path(file).write_text("x"),
    "fetch": lambda url: urllib.request.urlopen(url, timeout=1),
    "cuda": lambda _: torch.zeros(1, device="cuda"),
    "exit": os._exit,
    "warn": lambda text: sys.stderr.write(f"{text}\n"),
}


class Fail:
    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802  # ComfyUI's name for it
        return {
            "required": {
                "deed": ("STRING", {}),
                "number": ("INT", {"default": 0, "max": 1 << 60}),
                "text": ("STRING", {}),
            }
        }

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "testing"

    @classmethod
    def IS_CHANGED(cls, **_inputs):  # noqa: N802
        return float("nan")

    def run(self, deed, number, text):
        DEEDS[deed](text or number)
        return ()


NODE_CLASS_MAPPINGS = {"Fail": Fail}
