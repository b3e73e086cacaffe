"""``python -m tests.catalogue.provoke COMFYUI PYTHON [NAME…]``: make a real ComfyUI fail, and keep its logs.

Each failure of the table below is provoked in a ComfyUI of its own; what it wrote, trimmed and without a path of this
machine, goes to logs/<cause>/. ComfyUI's own source lines, which tracebacks quote, are left out: they are not ours.
Needs root, for the full and the read-only file system; some need an NVIDIA GPU, and are left out without one.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.comfyui_server import image_job
from tests.faults.patient import fault
from tests.support import free_port

HERE = Path(__file__).parent
LOGS = HERE / "logs"
FAULTS = HERE.parent / "faults" / "custom_nodes" / "fault_nodes.py"
BOOT = 240.0
"""Seconds."""
HIDDEN = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
"""
"""A sitecustomize that hides a module."""
WITHOUT_CUDA = """
import sys, importlib.abc, importlib.machinery
class Late(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torch.cuda":
            import torch._C
            del torch._C._cuda_getDeviceCount
sys.meta_path.insert(0, Late())
"""
"""A sitecustomize that makes torch one that was built without CUDA."""


@dataclass(frozen=True)
class Scene:
    """One failure."""

    cause: str
    name: str
    flags: Sequence[str] = ()
    jobs: Sequence[Any] = ()
    """Graphs, one after the other."""
    cpu: bool = True
    environment: Sequence[tuple[str, str]] = ()
    prepare: Callable[[Path], object] = lambda _: None
    """Is given the folder before the start."""
    prefix: Sequence[str] = ()
    ends: bool = False
    """Whether it ends by itself before it answers."""
    restart: bool = False
    """Whether a second life follows in the same log."""
    only: str = ""
    """The beginning of the only version that has this."""
    gpu: bool = False
    """Whether it needs a GPU."""


def deed(name: str, number: int = 0, text: str = "") -> dict[str, Any]:
    """Return a graph of the failing node."""
    return {"1": {"class_type": "Fail", "inputs": {"deed": name, "number": number, "text": text}}}


def checkpoint(name: str) -> dict[str, Any]:
    """Return a graph that loads a checkpoint."""
    save = {"images": ["2", 0], "filename_prefix": "test"}
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": name}},
        "2": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["1", 2]}},
        "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "4": {"class_type": "SaveImage", "inputs": save},
    }


def lora(name: str) -> dict[str, Any]:
    """Return a graph that loads a LoRA, for a model that is there as little."""
    graph = checkpoint("base.safetensors")
    graph["5"] = {
        "class_type": "LoraLoader",
        "inputs": {"lora_name": name, "strength_model": 1.0, "strength_clip": 1.0, "model": ["1", 0], "clip": ["1", 1]},
    }
    graph["6"] = {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["5", 1]}}
    graph["7"] = {
        "class_type": "KSampler",
        "inputs": {
            "model": ["5", 0],
            "positive": ["6", 0],
            "negative": ["6", 0],
            "latent_image": ["3", 0],
            "seed": 1,
            "steps": 1,
            "cfg": 1.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1.0,
        },
    }
    graph["2"]["inputs"]["samples"] = ["7", 0]
    return graph


def site(text: str) -> Callable[[Path], object]:
    """Return how a sitecustomize is put into the folder that is in PYTHONPATH."""
    return lambda folder: (folder / "site" / "sitecustomize.py").write_text(text)


def node(name: str, text: str) -> Callable[[Path], object]:
    """Return how a package of custom nodes is added."""

    def add(folder: Path) -> None:
        package = folder / "custom_nodes" / name
        package.mkdir()
        (package / "__init__.py").write_text(text)

    return add


def model(name: str, content: bytes) -> Callable[[Path], object]:
    """Return how a model file is added."""
    return lambda folder: (folder / "models" / "checkpoints" / name).write_bytes(content)


def mount(place: str, *options: str) -> Callable[[Path], object]:
    """Return how a small tmpfs is put in a folder's place."""

    def do(folder: Path) -> None:
        (folder / place).mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", folder / place], check=True)

    return do


def compiled(folder: Path, name: str, source: str, *options: str) -> Path:
    """Return a shared library made of C."""
    file = folder / f"{name}.c"
    file.write_text(source)
    target = folder / f"{name}.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", target, file, *options], check=True)
    file.unlink()
    return target


def undefined(folder: Path) -> None:
    """Add a native module that wants a symbol that nobody has."""
    node("ComfyUI-Native", "from . import _ops\n")(folder)
    source = "void _ZN3c106detail14torchCheckFailEPKcS2_jS2_(void);\nvoid PyInit__ops(void)"
    compiled(folder / "custom_nodes/ComfyUI-Native", "_ops", source + "{_ZN3c106detail14torchCheckFailEPKcS2_jS2_();}")


def glibc(folder: Path) -> None:
    """Put a native module that wants a newer C library where einops should be."""
    (folder / "v.map").write_text("GLIBC_2.99 { global: future; };")
    options = ["-Wl,-soname,libm.so.6", f"-Wl,--version-script={folder / 'v.map'}"]
    compiled(folder, "libfuture", "void future(void){}", *options)
    source = "void future(void); void *PyInit_einops(void){future(); return 0;}"
    compiled(folder / "site", "einops", source, "-Wl,--no-as-needed", str(folder / "libfuture.so"))


def truncated_zip() -> bytes:
    """Return the beginning of what torch.save writes."""
    return b"PK\x03\x04" + bytes(4000)


HEADER = b'{"a":{"dtype":"F32","shape":[1024,1024],"data_offsets":[0,4194304]}}'
SAFETENSORS = len(HEADER).to_bytes(8, "little") + HEADER + bytes(4096)
ILLEGAL = """\
CUDA error: an illegal memory access was encountered
CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect.
For debugging consider passing CUDA_LAUNCH_BLOCKING=1
Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.
"""
NO_KERNEL = """\
CUDA error: no kernel image is available for execution on the device
CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect.
For debugging consider passing CUDA_LAUNCH_BLOCKING=1
Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.
"""
BASE = "/srv/comfyui"
JOBS = [image_job(), deed("steps", 30), image_job(64), deed("steps", 12)]
NO_OVERRIDE = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search")
IMPORT_FAILS = node("ComfyUI-FaceTools", "import insightface\nNODE_CLASS_MAPPINGS = {}\n")
SYNTAX = node("ComfyUI-Broken", "def broken(:\n")
CHATTY = node(
    "ComfyUI-Chatty",
    "import warnings, logging\nwarnings.warn('torch.cuda.amp.autocast(args...) is deprecated', FutureWarning)\n"
    "print('[ComfyUI-Chatty] ERROR: optional dependency onnxruntime-gpu not found, falling back to CPU')\n"
    "logging.error('Failed to find comfyui_controlnet_aux config, using the default')\nNODE_CLASS_MAPPINGS = {}\n",
)
FETCHES = node(
    "ComfyUI-Registry",
    "import os, urllib.request\nurllib.request.urlopen(os.environ['SILENT'] + 'registry.json', timeout=3)\n",
)

SCENES = [
    Scene("healthy", "jobs", jobs=JOBS),
    Scene("healthy", "idle"),
    Scene("healthy", "chatty", jobs=JOBS, prepare=CHATTY),
    Scene("healthy", "two-lives", jobs=JOBS, restart=True),
    Scene("healthy", "one-job-refused", jobs=[*JOBS, {"1": {"class_type": "NotThere", "inputs": {}}}, *JOBS]),
    Scene("flag_conflict", "vram", flags=["--gpu-only", "--lowvram"], ends=True, cpu=False),
    Scene("flag_conflict", "cpu", flags=["--gpu-only"], ends=True),
    Scene("flag_conflict", "attention", flags=["--use-split-cross-attention", "--use-quad-cross-attention"], ends=True),
    Scene("flag_unknown", "option", flags=["--turbo"], ends=True),
    Scene("flag_unknown", "choice", flags=["--preview-method", "fancy"], ends=True),
    Scene("flag_unknown", "number", flags=["--reserve-vram", "much"], ends=True),
    Scene("port_in_use", "taken", ends=True),
    Scene("port_in_use", "after-healthy", jobs=JOBS, restart=True, ends=True),
    Scene("missing_module", "torchsde", prepare=site(HIDDEN.format(module="torchsde")), ends=True),
    Scene("missing_module", "einops", prepare=site(HIDDEN.format(module="einops")), ends=True),
    Scene("missing_module", "yaml", prepare=site(HIDDEN.format(module="yaml")), ends=True),
    Scene("missing_module", "torch", prepare=site(HIDDEN.format(module="torch")), ends=True),
    Scene("custom_node_import_failed", "module", prepare=IMPORT_FAILS),
    Scene("custom_node_import_failed", "with-jobs", prepare=IMPORT_FAILS, jobs=JOBS),
    Scene("custom_node_import_failed", "syntax", prepare=SYNTAX, jobs=JOBS),
    Scene("model_missing", "not-in-list", jobs=[*JOBS, checkpoint("sd_xl_base_1.0.safetensors")]),
    Scene("model_missing", "at-run", jobs=[*JOBS, deed("model", text="flux1-dev.safetensors")]),
    Scene("model_missing", "lora", jobs=[*JOBS, lora("detail.safetensors"), *JOBS]),
    Scene("model_missing", "first-job", jobs=[checkpoint("v1-5-pruned-emaonly-fp16.safetensors")]),
    Scene(
        "model_corrupt",
        "truncated",
        jobs=[*JOBS, checkpoint("cut.safetensors")],
        prepare=model("cut.safetensors", SAFETENSORS),
    ),
    Scene(
        "model_corrupt",
        "html",
        jobs=[checkpoint("page.safetensors")],
        prepare=model("page.safetensors", b"<!DOCTYPE html><html>" * 50),
    ),
    Scene("model_corrupt", "zip", jobs=[*JOBS, checkpoint("cut.ckpt")], prepare=model("cut.ckpt", truncated_zip())),
    Scene("model_corrupt", "empty", jobs=[checkpoint("empty.safetensors")], prepare=model("empty.safetensors", b"")),
    Scene(
        "model_corrupt",
        "pickle",
        jobs=[deed("load", text="page.pth"), *JOBS],
        prepare=model("page.pth", b"<html>not found</html>"),
    ),
    Scene(
        "disk_full",
        "output",
        jobs=[
            image_job(),
            *[image_job(2048, colour=n * 70000) for n in range(8)],
            deed("full", text="{base}/output/x"),
        ],
        prepare=mount("output", "size=64k"),
    ),
    Scene(
        "disk_full", "at-run", jobs=[*JOBS, deed("full", text="{base}/output/x")], prepare=mount("output", "size=1m")
    ),
    Scene(
        "disk_full",
        "database",
        flags=["--database-url=sqlite:///{base}/small/comfyui.db"],
        prepare=mount("small", "size=4k"),
        jobs=JOBS,
        only="0.33",
    ),
    Scene("permission_denied", "read-only", jobs=[*JOBS[1:2], image_job(32)], prepare=mount("output", "ro")),
    Scene(
        "permission_denied",
        "output",
        jobs=[*JOBS[1:2], image_job(32)],
        prefix=NO_OVERRIDE,
        prepare=lambda at: (at / "output").mkdir(mode=0o555),
    ),
    Scene("db_locked", "exclusive", ends=True),
    Scene("db_locked", "at-run", jobs=[*JOBS, deed("locked", text="{base}/seen.db")]),
    Scene("worker_thread_died", "idle-after", jobs=[*JOBS, deed("worker_dies")]),
    Scene("worker_thread_died", "first-job", jobs=[deed("worker_dies"), *JOBS]),
    Scene(
        "too_many_open_files",
        "at-run",
        prefix=("prlimit", "--nofile=256:256"),
        jobs=[deed("steps", 10), deed("too_many_files")],
    ),
    Scene("host_oom_killed", "sigkill", jobs=[*JOBS, deed("killed", 9)]),
    Scene("host_oom_killed", "allocator", jobs=[*JOBS, deed("memory", 1 << 46)]),
    Scene("segfault", "in-a-node", jobs=[*JOBS, deed("segfault")]),
    Scene("segfault", "faulthandler", jobs=[deed("segfault")], environment=[("PYTHONFAULTHANDLER", "1")]),
    Scene("segfault", "abort", jobs=[*JOBS, deed("killed", 6)], environment=[("PYTHONFAULTHANDLER", "1")]),
    Scene("driver_mismatch", "no-driver", cpu=False, ends=True),
    Scene(
        "driver_mismatch", "cuda-device", cpu=False, flags=["--cuda-device", "0", "--disable-cuda-malloc"], ends=True
    ),
    Scene("driver_mismatch", "in-a-job", jobs=[*JOBS, deed("cuda")]),
    Scene("no_cuda_torch", "at-start", cpu=False, prepare=site(WITHOUT_CUDA), ends=True),
    Scene("no_cuda_torch", "gpu-only", cpu=False, flags=["--gpu-only"], prepare=site(WITHOUT_CUDA), ends=True),
    Scene("no_cuda_torch", "in-a-job", jobs=[*JOBS, deed("cuda")], prepare=site(WITHOUT_CUDA)),
    Scene("binary_incompatible", "symbol-in-a-node", jobs=JOBS, prepare=undefined),
    Scene("binary_incompatible", "glibc", prepare=glibc, ends=True),
    Scene("network_timeout", "in-a-job", jobs=[*JOBS, deed("fetch", text="{silent}model.json")]),
    Scene("network_timeout", "unresolved", jobs=[*JOBS, deed("fetch", text="http://models.invalid/vae.json")]),
    Scene("network_timeout", "node-at-start", prepare=FETCHES, jobs=JOBS),
    Scene("cuda_poisoned", "cascade", jobs=[*JOBS, *[deed("fail", text=ILLEGAL)] * 3]),
    Scene("cuda_poisoned", "gpu-assert", jobs=[*JOBS, *[fault("FaultCudaAssert"), deed("cuda")] * 2], gpu=True),
    Scene("cuda_poisoned", "gpu-access", jobs=[*JOBS, *[fault("FaultCudaAccess"), deed("cuda")] * 2], gpu=True),
    Scene("cuda_oom", "gpu-block", jobs=[*JOBS, fault("FaultCudaMemory")], gpu=True),
    Scene("healthy", "gpu", jobs=[*JOBS, deed("cuda")], gpu=True),
    Scene("gpu_lost", "gpu-hidden", gpu=True, environment=[("CUDA_VISIBLE_DEVICES", "")], ends=True),
    Scene("arch_unsupported", "in-a-job", jobs=[*JOBS, deed("fail", text=NO_KERNEL), *JOBS]),
    Scene("arch_unsupported", "every-job", jobs=[deed("fail", text=NO_KERNEL)] * 3),
    Scene("unknown", "error-in-a-node", jobs=[*JOBS, deed("fail", text="the sampler went astray")]),
    Scene("unknown", "exit", jobs=[*JOBS, deed("exit", 7)]),
]


class Play:
    """One scene on the stage."""

    def __init__(self, scene: Scene, comfyui: Path, python: Path, folder: Path) -> None:
        """Lay the folders out."""
        self.scene, self.comfyui, self.python, self.folder = scene, comfyui, python, folder
        for name in ("user", "input", "site", "models/checkpoints", "custom_nodes/ComfyUI-Failing"):
            (folder / name).mkdir(parents=True)
        failing = HERE / "custom_nodes" / "failing_nodes.py"
        shutil.copy(failing, folder / "custom_nodes/ComfyUI-Failing/__init__.py")
        if scene.gpu:
            shutil.copy(FAULTS, folder / "custom_nodes")
        scene.prepare(folder)
        self.port = free_port()
        self.log = folder / "log"
        self.listening = socket.create_server(("127.0.0.1", 0))  # and never answering
        self.silent = f"http://127.0.0.1:{self.listening.getsockname()[1]}/"

    def run(self) -> int:
        """Let it happen; return the exit status as subprocess has it, 0 if it was still running."""
        scene = self.scene
        if scene.restart:
            self._life(BOOT)
        if scene.cause == "port_in_use":
            with socket.socket() as taken:
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                taken.bind(("127.0.0.1", self.port))
                taken.listen()
                return self._life(BOOT, last=True)
        if (scene.cause, scene.name) == ("db_locked", "exclusive"):
            keeper = subprocess.Popen(
                [sys.executable, "-c", LOCK, str(self.folder / "comfyui.db")], stdout=subprocess.PIPE
            )
            assert keeper.stdout
            keeper.stdout.readline()
            try:
                return self._life(30, last=True)
            finally:
                keeper.kill()
        return self._life(BOOT, last=True)

    def _life(self, deadline: float, *, last: bool = False) -> int:
        scene = self.scene
        environment = {"PYTHONPATH": str(self.folder / "site"), "PYTHONUNBUFFERED": "1", "SILENT": self.silent}
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*scene.prefix, self.python, self.comfyui / "main.py", *self._flags()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, **environment, **dict(scene.environment)},
            )
        try:
            if scene.ends and (last or not scene.restart):
                return process.wait(deadline)
            if self._ready(process, deadline):
                self._work(process)
            return process.poll() or 0
        except subprocess.TimeoutExpired:
            return 0
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL if last else signal.SIGINT)
            process.wait(BOOT)

    def _flags(self) -> list[str]:
        flags = [f"--base-directory={self.folder}", "--disable-auto-launch", f"--port={self.port}"]
        flags += [f"--database-url=sqlite:///{self.folder / 'comfyui.db'}"]
        flags += ["--cpu"] if self.scene.cpu and not self.scene.gpu else []
        return [*flags, *(flag.replace("{base}", str(self.folder)) for flag in self.scene.flags)]

    def _ready(self, process: subprocess.Popen[bytes], deadline: float) -> bool:
        end = time.monotonic() + deadline
        while time.monotonic() < end and process.poll() is None:
            try:
                if requests.get(f"http://127.0.0.1:{self.port}/prompt", timeout=5).ok:
                    return True
            except requests.RequestException:
                time.sleep(0.2)
        return False

    def _work(self, process: subprocess.Popen[bytes]) -> None:
        url = f"http://127.0.0.1:{self.port}/prompt"
        for job in self.scene.jobs:
            for graph in job.values():
                for key, value in graph["inputs"].items():
                    if isinstance(value, str):
                        graph["inputs"][key] = value.replace("{base}", str(self.folder)).replace(
                            "{silent}", self.silent
                        )
            try:
                requests.post(url, json={"prompt": job}, timeout=10)
                end = time.monotonic() + 10
                while process.poll() is None and time.monotonic() < end:
                    if not requests.get(url, timeout=5).json()["exec_info"]["queue_remaining"]:
                        break
                    time.sleep(0.1)
            except (requests.RequestException, ValueError, KeyError):
                break
        time.sleep(0.5)


LOCK = """
import fcntl, os, sqlite3, sys, time
file = sys.argv[1]
keeper = sqlite3.connect(file, isolation_level=None)
keeper.execute("create table if not exists seen (id)")
keeper.execute("begin exclusive")
lock = open(file + ".lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


def anonymous(text: str, folder: Path, comfyui: Path, python: Path) -> str:
    """Return a log without this machine's paths, and without ComfyUI's source lines."""
    text = text.replace(str(folder), BASE).replace(str(comfyui), "/opt/ComfyUI")
    text = text.replace(str(python.parents[1]), "/opt/ComfyUI/venv")
    text = re.sub(r"/root/\.pyenv/versions/[\d.]+", "/usr", text)
    text = re.sub(r"/root\b", "/home/comfy", text)
    text = re.sub(r"/[\w./-]+/lib/(python3\.\d+)/site-packages", r"/opt/ComfyUI/venv/lib/\1/site-packages", text)
    own = r'(?m)^(\s*File "/opt/ComfyUI/(?!venv/)[^"\n]*", line \d+.*\n)((?:    \s.*\n)*)'
    return re.sub(own, lambda found: found[1], text)


def status_in_name(code: int) -> str:
    """Return how the end of a life is noted in a log's name."""
    if code < 0:
        return f".signal-{-code}"
    return f".exit-{code}" if code else ""


def main(arguments: Sequence[str]) -> None:
    """Provoke all failures, or those that are named."""
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a background job of a shell ignores it, and so its children
    comfyui, python, names = Path(arguments[0]), Path(arguments[1]), arguments[2:]
    found = re.search(r'__version__ = "(.+)"', (comfyui / "comfyui_version.py").read_text())
    assert found
    for scene in SCENES:
        if names and scene.cause not in names and f"{scene.cause}/{scene.name}" not in names:
            continue
        if scene.gpu and not Path("/dev/nvidiactl").exists():
            continue
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as made:
            folder = Path(made)
            try:
                code = Play(scene, comfyui, python, folder).run()
            finally:
                for place in ("output", "temp", "small"):
                    subprocess.run(["umount", "-q", folder / place], check=False, stderr=subprocess.DEVNULL)
            text = (folder / "log").read_bytes().decode("utf-8", "replace")
            target = LOGS / scene.cause / f"{found[1]}-{scene.name}{status_in_name(code)}.log"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(anonymous(text, folder, comfyui, python).encode())
            print(f"{target.relative_to(LOGS)}: {text.count(chr(10))} lines", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
