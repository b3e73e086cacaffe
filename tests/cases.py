"""Values that several rooms' tests build on: cards, releases, settings."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from comfy_supervisor import flags, instances, paths, plan, programs
from comfy_supervisor.comfyui import releases
from comfy_supervisor.flags import Case, Folders
from comfy_supervisor.instances import Memory
from comfy_supervisor.model import Account, Driver, Gpu, GpuReport, GpuState, Installation, Instance, Machine
from comfy_supervisor.render import Configuration, reader, text
from comfy_supervisor.settings import Loaded, Settings

EXTENSION = Path("/state/extension.yaml")
CARDS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "gpus.json").read_text())["cards"]
"""Cards by name, with the memory that NVML reports and the tier that is wanted."""


def gpu(index: int = 0, mib: int = 24564, uuid: str = "", pci: str = "", **more: Any) -> Gpu:
    """Return a healthy GPU; its UUID and PCI address follow from its index unless given."""
    uuid = uuid or f"GPU-{index:08d}-0000-0000-0000-000000000000"
    return Gpu(
        index, uuid, more.pop("name", "NVIDIA GeForce RTX 4090"), mib, pci or f"00000000:{index + 1:02X}:00.0", **more
    )


def lost(device: Gpu) -> Gpu:
    """Return the same GPU, fallen off the bus."""
    return Gpu(device.index, "", "", 0, device.pci, GpuState.LOST, "has fallen off the bus")


def report(*gpus: Gpu) -> GpuReport:
    """Return what a machine with a working driver and these GPUs reports."""
    return GpuReport(Driver.OK, driver_version="550.54.15", cuda_version="12.4", gpus=gpus)


def settings(**tables: dict[str, Any]) -> Settings:
    """Return settings with some keys set."""
    return Settings.model_validate(tables)


def case(device: Gpu | None, release: str = "0.3.64", folders: Folders | None = None, **tables: dict[str, Any]) -> Case:
    """Return what the flags are chosen from."""
    instance = Instance("gpu0" if device else "cpu", device, 8188, grouped=folders is not None)
    return Case(instance, settings(**tables), releases.known()[release], folders, EXTENSION)


HERE = Machine(
    Account("me", 1000, 1000, Path("/home/me")),
    Path("/home/me"),
    Path("/home/me/.local/state"),
    None,
    False,
    False,
    4096,
)
"""A machine for what is rendered without looking at one."""


def configured(
    settings: Settings, account: Account | None = None, *, fragment: bool = False, header: str = ""
) -> Configuration:
    """Return what would be rendered on a machine with two GPUs; raises UserError as rendering does."""
    places = paths.choose(Loaded(settings, None), HERE)
    accepted = releases.known()["0.33.0"]
    wanted = settings.comfyui
    found = Installation(Path(wanted.directory or "/comfy"), Path(wanted.python or "/py"), wanted.version or "0.33.0")
    output = Path(settings.paths.output or "/out")
    site = programs.Site(settings, places, found, accepted, ("/launch", "-I"), account, output)
    chosen, _ = instances.choose(settings, report(gpu(0), gpu(1)), Memory())
    run = [
        programs.program(
            one, flags.choose(Case(one, settings, accepted, programs.folders(one, site), places.extension)), site
        )
        for one in chosen
    ]
    lines = (header, wanted.directory) if header else ()
    return Configuration((*run, *plan.beside(chosen, site)), places, header=lines, fragment=fragment)


def sections_of(made: Configuration) -> dict[str, dict[str, str]]:
    """Return the sections that supervisord's parser finds."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "s.conf"
        file.write_text(text(made), encoding="utf-8")
        return reader.sections(file)
