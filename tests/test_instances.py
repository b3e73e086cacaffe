"""Which instances there are, over the life of a machine: nobody's name or port moves because of another GPU."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_supervisor import instances
from comfy_supervisor.errors import UserError
from comfy_supervisor.instances import Memory
from comfy_supervisor.model import Driver, Gpu, GpuReport, Instance
from tests.cases import gpu, lost, report, settings

A, B, C = gpu(0), gpu(1), gpu(2)


def choose(found: GpuReport, memory: Memory = Memory(), devices: Any = "all", port: int = 8188) -> tuple[Any, Memory]:  # noqa: B008  # frozen
    chosen, remembered = instances.choose(settings(gpu={"devices": devices}, comfyui={"port": port}), found, memory)
    return chosen, instances.recall(remembered.text(), Path("instances.json"))


def names(chosen: tuple[Instance, ...]) -> dict[str, tuple[str, int]]:
    """Return program and port by UUID."""
    return {one.gpu.uuid if one.gpu else "cpu": (one.program, one.port) for one in chosen}


class TestChoice:
    """``gpu.devices``."""

    def test_auto_takes_the_gpu_with_most_memory(self) -> None:
        chosen, _ = choose(report(A, gpu(1, mib=81559), C), devices="auto")
        assert names(chosen) == {B.uuid: ("comfyui", 8188)}

    def test_auto_takes_the_lowest_index_of_equals(self) -> None:
        chosen, _ = choose(report(A, B), devices="auto")
        assert names(chosen) == {A.uuid: ("comfyui", 8188)}

    def test_all_makes_a_group_with_ports_in_a_row(self) -> None:
        chosen, _ = choose(report(A, B, C))
        assert names(chosen) == {
            A.uuid: ("comfyui:gpu0", 8188),
            B.uuid: ("comfyui:gpu1", 8189),
            C.uuid: ("comfyui:gpu2", 8190),
        }

    def test_all_of_one_gpu_is_plain_comfyui(self) -> None:
        assert names(choose(report(A))[0]) == {A.uuid: ("comfyui", 8188)}

    def test_a_list_takes_indices_and_uuids(self) -> None:
        chosen, _ = choose(report(A, B, C), devices=[2, A.uuid])
        assert set(names(chosen)) == {A.uuid, C.uuid}

    @pytest.mark.parametrize("devices", [[7], ["GPU-nowhere"]])
    def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(self, devices: Any) -> None:
        with pytest.raises(UserError, match=f"no such GPU; this machine has 0 \\({A.uuid}\\)"):
            choose(report(A), devices=devices)

    def test_the_same_gpu_by_index_and_uuid_is_refused(self) -> None:
        with pytest.raises(UserError, match=f"0 and {A.uuid} mean {A.uuid}; expected each GPU once"):
            choose(report(A, B), devices=[0, A.uuid])

    def test_the_index_of_a_gpu_in_mig_mode_is_refused_with_the_uuids(self) -> None:
        parts = [gpu(0, uuid=f"MIG-{n}", mig=True) for n in range(2)]
        with pytest.raises(UserError, match="name them by UUID: MIG-0, MIG-1"):
            choose(report(*parts), devices=[0])
        assert len(choose(report(*parts), devices="all")[0]) == 2

    def test_ports_end_somewhere(self) -> None:
        with pytest.raises(UserError, match="leaves no port"):
            choose(report(A, B), port=65535)

    def test_remembered_ports_end_there_too(self) -> None:
        _, memory = choose(report(A, B))
        with pytest.raises(UserError, match="leaves no port"):
            choose(report(A, B), memory, port=65535)


class TestNeverTheCpuByAccident:
    """``--cpu`` only without NVIDIA hardware, or when it is asked for."""

    @pytest.mark.parametrize("devices", ["auto", "all"])
    def test_a_machine_without_hardware_gets_the_cpu(self, devices: str) -> None:
        assert names(choose(GpuReport(Driver.NO_HARDWARE), devices=devices)[0]) == {"cpu": ("comfyui", 8188)}

    @pytest.mark.parametrize("driver", [driver for driver in Driver if driver not in (Driver.OK, Driver.NO_HARDWARE)])
    @pytest.mark.parametrize("devices", ["auto", "all", [0]])
    def test_hardware_without_a_driver_is_refused_in_its_words(self, driver: Driver, devices: Any) -> None:
        with pytest.raises(UserError, match=r'reboot; .*gpu\.devices = "cpu"'):
            choose(GpuReport(driver, "driver and library mismatch: reboot"), devices=devices)

    def test_a_list_of_gpus_on_a_machine_without_any_is_refused(self) -> None:
        with pytest.raises(UserError):
            choose(GpuReport(Driver.NO_HARDWARE, "no NVIDIA GPU"), devices=[0])

    def test_a_gpu_that_has_vanished_from_the_bus_is_no_reason_for_the_cpu(self) -> None:
        _, memory = choose(report(A), devices="auto")
        with pytest.raises(UserError, match=rf"this machine had {A.uuid} \(gpu0\)"):
            choose(GpuReport(Driver.NO_HARDWARE), memory, devices="auto")
        assert names(choose(GpuReport(Driver.NO_HARDWARE), memory, devices="cpu")[0]) == {"cpu": ("comfyui", 8188)}

    def test_only_lost_gpus_are_refused_with_their_trouble(self) -> None:
        with pytest.raises(UserError, match="has fallen off the bus"):
            choose(report(lost(A)), devices="auto")


class TestMemory:
    """What happens to one GPU moves nobody else."""

    def test_the_same_machine_gives_the_same_answer(self) -> None:
        first, memory = choose(report(A, B, C))
        assert choose(report(A, B, C), memory) == (first, memory)

    def test_a_lost_gpu_leaves_the_others_where_they_were(self) -> None:
        before, memory = choose(report(A, B, C))
        after, memory = choose(report(A, lost(B), C), memory)
        assert names(after) == {uuid: place for uuid, place in names(before).items() if uuid != B.uuid}
        assert names(choose(report(A, B, C), memory)[0]) == names(before)

    def test_the_last_one_left_of_several_keeps_its_name(self) -> None:
        before, memory = choose(report(A, B))
        after, _ = choose(report(lost(A), B), memory)
        assert names(after) == {B.uuid: names(before)[B.uuid]}

    def test_an_added_gpu_gets_the_next_name_and_port(self) -> None:
        before, memory = choose(report(A, B))
        added = gpu(0, uuid="GPU-new", pci="00000000:09:00.0")
        after, _ = choose(report(added, replace(A, index=1), replace(B, index=2)), memory)
        assert names(after) == {**names(before), "GPU-new": ("comfyui:gpu2", 8190)}

    def test_a_gpu_in_the_slot_of_one_that_is_gone_takes_its_place(self) -> None:
        before, memory = choose(report(A, B))
        new = gpu(0, uuid="GPU-new", pci=A.pci)
        after, memory = choose(report(new, B), memory)
        assert names(after) == {"GPU-new": names(before)[A.uuid], B.uuid: names(before)[B.uuid]}

    def test_another_order_over_a_reboot_moves_only_the_index(self) -> None:
        before, memory = choose(report(A, B))
        after, _ = choose(report(replace(B, index=0), replace(A, index=1)), memory)
        assert names(after) == names(before)
        assert {one.gpu.uuid: one.gpu.index for one in after} == {A.uuid: 1, B.uuid: 0}

    def test_an_index_in_the_settings_goes_on_meaning_the_same_gpu(self) -> None:
        _, memory = choose(report(A, B), devices=[0])
        after, _ = choose(report(replace(B, index=0), replace(A, index=1)), memory, devices=[0])
        assert set(names(after)) == {A.uuid}

    def test_changed_settings_mean_what_they_say_now(self) -> None:
        _, memory = choose(report(A, B), devices=[0])
        swapped = report(replace(B, index=0), replace(A, index=1))
        assert set(names(choose(swapped, memory, devices=[0, 1])[0])) == {A.uuid, B.uuid}
        assert set(names(choose(swapped, memory, devices=[1])[0])) == {A.uuid}

    def test_a_lone_instance_keeps_its_journal_whatever_gpu_it_runs_on(self) -> None:
        first, memory = choose(report(A), devices="auto")
        bigger = gpu(1, mib=81559, uuid="GPU-big")
        after, _ = choose(report(A, bigger), memory, devices="auto")
        assert [one.id for one in after] == [one.id for one in first]
        assert names(after) == {"GPU-big": ("comfyui", 8188)}

    def test_auto_stays_on_its_gpu_among_equals(self) -> None:
        _, memory = choose(report(A, B), devices="auto")
        after, _ = choose(report(replace(B, index=0), replace(A, index=1)), memory, devices="auto")
        assert set(names(after)) == {A.uuid}

    def test_all_ports_move_along_with_the_first(self) -> None:
        _, memory = choose(report(A, B))
        after, _ = choose(report(A, B), memory, port=9000)
        assert names(after) == {A.uuid: ("comfyui:gpu0", 9000), B.uuid: ("comfyui:gpu1", 9001)}

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"v": 2}', '{"v": 1, "records": [{"id": 3}]}', "\x00"])
    def test_a_damaged_file_is_refused_and_left_to_its_owner(self, text: str) -> None:
        with pytest.raises(UserError, match=r"^/s/instances\.json: damaged"):
            instances.recall(text, Path("/s/instances.json"))

    @pytest.mark.parametrize(
        ("key", "value"),
        [("port", "8188"), ("port", True), ("port", 8188.0), ("uuid", None), ("pci", 3), ("id", []), ("device", 0)],
    )
    def test_a_record_with_a_value_of_another_type_is_damage(self, key: str, value: Any) -> None:
        _, memory = choose(report(A, B))
        data = json.loads(memory.text())
        data["records"][1][key] = value
        with pytest.raises(UserError, match=rf"^/s/instances\.json: damaged \({key} = "):
            instances.recall(json.dumps(data), Path("/s/instances.json"))

    @pytest.mark.parametrize(("key", "value"), [("base_port", "8188"), ("grouped", 1), ("records", [3])])
    def test_so_is_one_in_the_file_itself(self, key: str, value: Any) -> None:
        _, memory = choose(report(A, B))
        with pytest.raises(UserError, match=r"^/s/instances\.json: damaged"):
            instances.recall(json.dumps({**json.loads(memory.text()), key: value}), Path("/s/instances.json"))


class TestVanished:
    """A dead card is not listed at all after a reboot, and the cards behind it move up by one index."""

    LEFT = (A, replace(C, index=1))

    @pytest.mark.parametrize("devices", ["all", [0, 1, 2], [A.uuid, B.uuid, C.uuid]])
    def test_it_is_left_out_and_named_and_nobody_else_moves(self, devices: Any) -> None:
        before, memory = choose(report(A, B, C), devices=devices)
        after, memory = choose(report(*self.LEFT), memory, devices)
        assert names(after) == {uuid: place for uuid, place in names(before).items() if uuid != B.uuid}
        assert [(gone.uuid, gone.id) for gone in instances.vanished(report(*self.LEFT), memory)] == [(B.uuid, "gpu1")]
        back, memory = choose(report(A, B, C), memory, devices)
        assert (names(back), instances.vanished(report(A, B, C), memory)) == (names(before), ())

    @pytest.mark.parametrize("devices", [[0, 1], [A.uuid, B.uuid]])
    def test_no_other_card_takes_its_place(self, devices: Any) -> None:
        _, memory = choose(report(A, B, C), devices=devices)
        after, memory = choose(report(*self.LEFT), memory, devices)
        assert set(names(after)) == {A.uuid}
        assert {record.uuid for record in memory.records} == {A.uuid, B.uuid}
        assert [gone.uuid for gone in instances.vanished(report(*self.LEFT), memory)] == [B.uuid]

    @pytest.mark.parametrize("devices", [[1], [B.uuid]])
    def test_alone_it_is_refused_and_named(self, devices: Any) -> None:
        _, memory = choose(report(A, B, C), devices=devices)
        with pytest.raises(UserError, match=r"none of them can be used: .* is not there any more: look at its power"):
            choose(report(*self.LEFT), memory, devices)

    def test_a_uuid_is_no_typing_error_when_the_list_has_changed_meanwhile(self) -> None:
        _, memory = choose(report(A, B, C), devices=[A.uuid, B.uuid])
        after, memory = choose(report(*self.LEFT), memory, [A.uuid, B.uuid, C.uuid])
        assert set(names(after)) == {A.uuid, C.uuid}
        assert [gone.uuid for gone in instances.vanished(report(*self.LEFT), memory)] == [B.uuid]

    def test_an_index_means_the_new_card_in_its_slot(self) -> None:
        before, memory = choose(report(A, B, C), devices=[0, 1])
        new = gpu(2, uuid="GPU-new", pci=B.pci)  # at another index than the old one had
        after, _ = choose(report(A, replace(C, index=1), new), memory, devices=[0, 1])
        assert names(after) == {A.uuid: names(before)[A.uuid], "GPU-new": names(before)[B.uuid]}

    def test_a_uuid_never_means_another_card(self) -> None:
        devices = [A.uuid, B.uuid]
        _, memory = choose(report(A, B), devices=devices)
        swapped = report(A, gpu(1, uuid="GPU-new", pci=B.pci))
        after, memory = choose(swapped, memory, devices)
        assert set(names(after)) == {A.uuid}
        (gone,) = instances.vanished(swapped, memory)
        assert "its slot has GPU-new" in instances.absent(gone, swapped).problem

    def test_one_that_was_moved_to_its_slot_stays_itself(self) -> None:
        before, memory = choose(report(A, B, C), devices=[0, 1, 2])
        moved = report(A, replace(C, index=1, pci=B.pci))
        after, _ = choose(moved, memory, devices=[0, 1, 2])
        assert names(after) == {uuid: place for uuid, place in names(before).items() if uuid != B.uuid}

    def test_one_too_lost_to_tell_its_uuid_keeps_its_slot(self) -> None:
        _, memory = choose(report(A, B, C), devices=[0, 1])
        found = report(A, replace(C, index=1), replace(lost(B), index=2))
        after, memory = choose(found, memory, devices=[0, 1])
        assert (set(names(after)), instances.vanished(found, memory)) == ({A.uuid}, ())

    def test_an_element_is_remembered_of_one_gpu_only(self) -> None:
        _, memory = choose(report(A, B, C), devices=[1])
        _, memory = choose(report(A, B, C), memory, [1, 0])
        _, memory = choose(report(replace(B, index=0), replace(A, index=1), C), memory, [1])
        assert [record.device for record in memory.records if record.device] == ["1"]


CARDS = [gpu(number, uuid=f"GPU-{number}", pci=f"00000000:{number:02X}:00.0") for number in range(5)]


def present(*cards: Gpu, broken: set[Gpu] = frozenset()) -> GpuReport:  # type: ignore[assignment]
    """Return what a machine with these cards in this order reports."""
    return report(*(replace(lost(each) if each in broken else each, index=n) for n, each in enumerate(cards)))


@st.composite
def machines(draw: st.DrawFn, whole_first: bool = False) -> list[GpuReport]:
    """A machine's life: each time some of its GPUs are there, in any order, some of them lost."""

    def snapshot() -> GpuReport:
        there: list[Gpu] = draw(st.lists(st.sampled_from(CARDS), min_size=1, unique=True))
        return present(*there, broken=draw(st.sets(st.sampled_from(there), max_size=len(there) - 1)))

    return [present(*CARDS)] * whole_first + [snapshot() for _ in range(draw(st.integers(2, 6)))]


@given(machines())
def test_a_gpu_that_stays_in_its_slot_never_changes_its_id_or_port(life: list[GpuReport]) -> None:
    """And no two instances ever share an id or a port; what is gone is named."""
    memory, known = Memory(), dict[str, tuple[str, int]]()
    for found in life:
        chosen, memory = choose(found, memory)
        places = {one.gpu.uuid: (one.id, one.port) for one in chosen if one.grouped}
        assert len({one.id for one in chosen}) == len({one.port for one in chosen}) == len(chosen)
        for uuid, place in places.items():
            assert known.setdefault(uuid, place) == place
        assert_gone_are_named(found, memory)


def assert_gone_are_named(found: GpuReport, memory: Memory) -> None:
    """Assert that each GPU that is remembered and in no slot is named, and nobody else."""
    gone = {record.uuid for record in memory.records if record.pci not in {gpu.pci for gpu in found.gpus}}
    assert {record.uuid for record in instances.vanished(found, memory)} == gone


@given(machines(whole_first=True), st.lists(st.integers(0, 4), min_size=1, unique=True), st.booleans())
def test_a_list_never_means_another_gpu_than_at_first(life: list[GpuReport], indices: list[int], by_uuid: bool) -> None:
    """Whatever vanishes and comes back: those that are well run where they ran, the others are named."""
    devices: list[Any] = [CARDS[index].uuid for index in indices] if by_uuid else indices
    memory, places = Memory(), dict[str, tuple[str, int]]()
    for found in life:
        well = {gpu.uuid for gpu in found.usable} & {CARDS[index].uuid for index in indices}
        if not well:
            with pytest.raises(UserError, match="none of them can be used"):
                choose(found, memory, devices)
            continue
        chosen, memory = choose(found, memory, devices)
        places = places or names(chosen)
        assert names(chosen) == {uuid: places[uuid] for uuid in well}
        assert_gone_are_named(found, memory)
