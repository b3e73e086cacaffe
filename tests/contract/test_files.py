"""Files that go in and come out."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from tests.comfyui_server import Server, image_job


def upload(comfyui: Server, name: str, content: bytes, **form: str) -> requests.Response:
    return comfyui.session.post(
        f"{comfyui.url}/upload/image", files={"image": (name, content, "image/png")}, data=form, timeout=30
    )


def view(comfyui: Server, **query: str) -> requests.Response:
    return comfyui.session.get(f"{comfyui.url}/view", params=query, timeout=30)


def output(comfyui: Server, colour: int = 0) -> dict[str, str]:
    entry = comfyui.finished(comfyui.submit(image_job(prefix="seen/pic", colour=colour)))
    image: dict[str, str] = entry["outputs"]["2"]["images"][0]
    return image


def test_an_output_can_be_viewed(comfyui: Server) -> None:
    image = output(comfyui)
    answer = view(comfyui, **image)
    assert answer.content == (comfyui.folder / "output" / "seen" / image["filename"]).read_bytes()
    assert answer.headers["Content-Type"] == "image/png"
    assert image["filename"] in answer.headers["Content-Disposition"]
    again = comfyui.session.get(f"{comfyui.url}/api/view", params=image, timeout=30)
    assert again.content == answer.content


def test_files_are_numbered_on(comfyui: Server) -> None:
    first = output(comfyui)["filename"]
    second = output(comfyui, colour=1)["filename"]
    number = int(first.split("_")[1])
    assert (first, second) == (f"pic_{number:05}_.png", f"pic_{number + 1:05}_.png")


def test_a_preview_goes_to_the_temp_folder(comfyui: Server) -> None:
    graph = image_job()
    graph["2"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    (image,) = comfyui.finished(comfyui.submit(graph))["outputs"]["2"]["images"]
    assert image["type"] == "temp"
    assert (comfyui.folder / "temp" / image["filename"]).is_file()
    assert view(comfyui, **image).ok


def test_a_job_may_not_save_outside_the_output_folder(comfyui: Server) -> None:
    entry = comfyui.finished(comfyui.submit(image_job(prefix="../../escaped")))
    assert entry["status"]["status_str"] == "error"
    assert "outside the output folder" in entry["status"]["messages"][-1][1]["exception_message"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({}, 404),
        ({"filename": "missing.png"}, 404),
        ({"filename": "../user/x"}, 400),
        ({"filename": "/etc/passwd"}, 400),
        ({"filename": "x.png", "type": "nonsense"}, 400),
        ({"filename": "x.png", "subfolder": "../.."}, 403),
    ],
)
def test_what_cannot_be_viewed(comfyui: Server, query: dict[str, str], status: int) -> None:
    assert view(comfyui, **query).status_code == status


def test_an_uploaded_image_can_be_viewed(comfyui: Server) -> None:
    answer = upload(comfyui, "up.png", b"one", subfolder="mine", overwrite="true")
    assert answer.json() == {"name": "up.png", "subfolder": "mine", "type": "input"}
    assert (comfyui.folder / "input" / "mine" / "up.png").read_bytes() == b"one"
    assert view(comfyui, filename="up.png", subfolder="mine", type="input").content == b"one"


def test_an_upload_of_the_same_name_gets_another_unless_it_is_the_same(comfyui: Server) -> None:
    upload(comfyui, "twice.png", b"one", overwrite="1")
    assert upload(comfyui, "twice.png", b"one").json()["name"] == "twice.png"
    assert upload(comfyui, "twice.png", b"two").json()["name"] == "twice (1).png"
    assert upload(comfyui, "twice.png", b"three", overwrite="true").json()["name"] == "twice.png"
    assert (comfyui.folder / "input" / "twice.png").read_bytes() == b"three"


def test_an_upload_without_an_image_or_out_of_the_folder_is_refused(comfyui: Server) -> None:
    assert comfyui.session.post(f"{comfyui.url}/upload/image", data={"type": "input"}, timeout=30).status_code == 400
    assert upload(comfyui, "x.png", b"x", subfolder="../..").status_code == 400
    assert not Path(comfyui.folder.parent, "x.png").exists()
