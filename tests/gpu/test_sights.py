"""What the watch's lines say of one instance's GPU."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from comfy_supervisor.gpu.sights import Device, Knowledge, understand
from comfy_supervisor.model import Driver
from comfy_supervisor.model import GpuSight as Sight

GPU = "GPU-0"
OWN = {10, 11}


def line(*gpus: dict[str, Any], at: float = 1.0, xids: list[list[Any]] | None = None) -> dict[str, Any]:
    return {"at": at, "gpus": list(gpus), "xids": xids or []}


def row(index: int = 0, uuid: str = GPU, **fields: Any) -> dict[str, Any]:
    return {"index": index, "mig": "off", "uuid": uuid, "errors": {}, **fields}


def learn(*lines: dict[str, Any], known: Knowledge | None = None) -> Knowledge:
    known = known or Knowledge()
    for each in lines:
        known = known.after(understand(each, ["00000000:01:00.0"]))
    return known


def sight(known: Knowledge, gpu: str = GPU, since: float = 0.0) -> Sight:
    return known.sight(gpu, OWN, since, fresh=float("-inf"))


class TestUse:
    """The percent that the own processes use, or None."""

    @pytest.mark.parametrize(
        ("device", "percent"),
        [
            # told by process
            (Device(0, percent=90, busy={10: 30, 11: 20, 99: 40}, memory={10: 1, 11: 1, 99: 1}), 50),
            (Device(0, percent=90, busy={10: 70, 11: 60}, memory={10: 1}), 100),
            (Device(0, percent=90, busy={99: 90}, memory={10: 1, 99: 1}), 0),
            (Device(0, percent=90, busy={}, memory={10: 1}), 0),
            (Device(0, percent=90, busy={10: 5}, memory=None), 5),
            # no context of theirs on it, and others are
            (Device(0, percent=90, busy={99: 90}, memory={99: 1}, here=True), 0),
            # a container that is shown its host's processes, or none
            (Device(0, percent=90, busy={99: 90}, memory={99: 1}), None),
            (Device(0, percent=90, busy={}, memory={}), None),
            (Device(0, percent=0, busy={}, memory={}), 0),
            (Device(0, busy={}, memory={}), None),
            # told for the whole device only
            (Device(0, percent=90, memory={10: None}), 90),
            (Device(0, percent=90, memory={10: 1, 99: 1}, here=True), None),
            (Device(0, percent=90, memory={}), None),
            (Device(0, percent=90), None),
            (Device(0, percent=0, memory={10: 1, 99: 1}), 0),
            # a MIG instance
            (Device(0, gpu_instance=1, memory={10: 1}), None),
            (Device(0), None),
        ],
    )
    def test_use(self, device: Device, percent: int | None) -> None:
        assert device.used_by(OWN) == percent

    def test_old_look_tells_no_use_but_keeps_the_fault(self) -> None:
        known = learn(line(row(percent=0, errors={"percent": [16, "Reset Required"]}), at=100.0))
        assert known.sight(GPU, OWN, 0.0, fresh=100.0).percent == 0
        late = known.sight(GPU, OWN, 0.0, fresh=100.1)
        assert late.percent is None
        assert "must be reset" in late.fault


class TestFault:
    """Why a person is needed."""

    def test_nothing_known(self) -> None:
        assert sight(Knowledge()) == Sight()
        assert sight(learn(line()), "GPU-never-seen") == Sight()

    def test_lost(self) -> None:
        known = learn(line(row(), row(1, "GPU-1", errors={"uuid": [15, "GPU is lost"]})))
        assert sight(known, "GPU-1").fault.startswith("GPU 1: it has fallen off the bus")
        assert sight(known).fault == ""
        assert (known.working, known.complete) == (1, False)

    def test_too_lost_to_tell_its_name(self) -> None:
        """It is known by its place; when that isn't known, by being the one that has none."""
        nameless = {"index": 1, "mig": "off", "errors": {"handle": [999, "Unknown Error"]}}
        for known in (learn(line(row(), nameless)), learn(line(row(), row(1, "GPU-1")), line(row(), nameless))):
            assert "gives no handle" in sight(known, "GPU-1").fault
            assert sight(known).fault == ""

    def test_no_longer_shown(self) -> None:
        known = learn(line(row(), row(1, "GPU-1")), line(row()))
        assert sight(known, "GPU-1").fault.startswith("GPU 1: the driver does not show it any more")
        assert not known.complete
        assert sight(known.without("GPU-1"), "GPU-1") == Sight()

    def test_fault_of_a_nameless_one_in_another_place_is_not_its(self) -> None:
        nameless = {"index": 0, "mig": "off", "errors": {"handle": [15, "GPU is lost"]}}
        known = learn(line(row(), row(1, "GPU-1")), line(nameless))
        assert "fallen off the bus" in sight(known).fault
        assert "does not show it any more" in sight(known, "GPU-1").fault

    def test_works_again(self) -> None:
        known = learn(line(row(errors={"uuid": [15, "GPU is lost"]})), line(row()))
        assert sight(known).fault == ""
        assert known.complete

    def test_what_is_merely_not_supported_is_none(self) -> None:
        known = learn(line(row(errors={"busy": [3, "Not Supported"], "processes": [4, "Insufficient Permissions"]})))
        assert sight(known) == Sight()

    def test_driver_mismatch_is_one_of_every_gpu(self) -> None:
        known = learn({"error": [18, "mismatch"]})
        assert "different versions" in sight(known, "GPU-any").fault
        assert sight(known, "GPU-any").cause == "driver_mismatch"
        assert known.trouble == sight(known).fault
        assert sight(learn(line(row()), known=known)).fault == ""

    @pytest.mark.parametrize("code", [4, 9, 12, 999])
    def test_other_trouble_of_the_driver_is_none(self, code: int) -> None:
        """Where nothing can be seen, supervision goes on without."""
        known = learn({"error": [code, "text"]})
        assert sight(known) == Sight()
        assert known.trouble

    def test_no_hardware(self) -> None:
        trouble = understand({"error": [12, "no library"]}, [])
        assert getattr(trouble, "driver", None) is Driver.NO_HARDWARE


class TestXids:
    """The driver's errors."""

    def test_only_those_of_this_life(self) -> None:
        known = learn(line(row(), xids=[[5.0, 0, None, 31], [7.0, 0, None, 13]]))
        assert sight(known, since=6.0).xids == (13,)
        assert sight(known, since=5.0).xids == (13, 31)
        assert sight(known).fault == ""

    def test_the_last_time_counts(self) -> None:
        known = learn(line(row(), xids=[[5.0, 0, None, 31]]), line(row(), xids=[[9.0, 0, None, 31]]))
        assert sight(known, since=6.0).xids == (31,)

    @pytest.mark.parametrize("xid", [46, 48, 62, 64, 79, 95, 119, 120, 140, 143])
    def test_grave_one_is_a_fault_until_it_is_forgotten(self, xid: int) -> None:
        known = learn(line(row(), xids=[[5.0, 0, None, xid]]), line(row()))
        assert f"GPU 0: the driver reported Xid {xid}: " in sight(known, since=6.0).fault
        assert sight(known).xids == ()
        assert (known.working, known.complete) == (0, False)
        assert sight(learn(line(row()), known=known.without(GPU))) == Sight()

    def test_no_other_is(self) -> None:
        others = set(range(200)) - {46, 48, 62, 64, 79, 95, 119, 120, 140, 143}
        known = learn(line(row(), xids=[[5.0, 0, None, xid] for xid in sorted(others)]))
        assert sight(known).fault == ""
        assert set(sight(known).xids) == others

    def test_another_gpus(self) -> None:
        known = learn(line(row(), row(1, "GPU-1"), xids=[[5.0, 1, None, 79]]))
        assert sight(known) == Sight()
        assert "Xid 79" in sight(known, "GPU-1").fault

    def test_lost_gpus_own(self) -> None:
        """It is charged though the GPU can't tell its name any more."""
        nameless = {"index": 0, "mig": "off", "errors": {"uuid": [15, "GPU is lost"]}}
        known = learn(line(row()), line(nameless, xids=[[5.0, 0, None, 31]]))
        assert sight(known).xids == (31,)

    def test_of_mig_instances(self) -> None:
        rows = [row(0, f"MIG-{i}", mig="instance", gpu_instance=i) for i in (1, 2)]
        known = learn(line(*rows, xids=[[5.0, 0, 2, 31], [5.0, 0, None, 13]]))
        assert sight(known, "MIG-1").xids == (13,)
        assert sight(known, "MIG-2").xids == (13, 31)

    def test_memory_stays_flat(self) -> None:
        """Whatever numbers come, for however long."""
        known = Knowledge()
        sizes = []
        tracemalloc.start()
        for turn in range(3):
            for i in range(2000):
                xids = [[float(i), 0, None, 1000 + i]]
                known = learn(line(row(busy=[[i, 1]], processes=[[i, 1]]), at=float(i), xids=xids), known=known)
            sizes.append(tracemalloc.get_traced_memory()[0])
            assert len(known.xids[GPU]) == 200, turn
        tracemalloc.stop()
        assert sizes[2] - sizes[1] < 20_000


@pytest.mark.parametrize(
    "line",
    [
        {},
        [],
        7,
        {"error": []},
        {"error": None},
        {"at": 1, "gpus": [{}], "xids": []},
        {"at": "x", "gpus": [], "xids": []},
        {"at": 1, "gpus": [], "xids": [[1]]},
    ],
)
def test_what_is_not_understood_is_one_of_four_errors(line: Any) -> None:
    with pytest.raises((AttributeError, LookupError, TypeError, ValueError)):
        understand(line, [])
