"""How long a running job may be silent, from the classes of its nodes. Pure."""

from __future__ import annotations

from collections.abc import Collection

from ..policy.evidence import Patience

PATIENT_NODES = (
    # chrisgoringe/cg-image-filter
    "Image Filter",
    "Text Image Filter",
    "Text Image Filter with Extras",
    "Mask Image Filter",
    # chrisgoringe/cg-image-picker, which the one above replaces
    "Image Chooser",
    "Image Chooser Classic",
    "Preview Chooser",
    "Preview Chooser Fabric",
    "Simple Chooser",
    # wywywywy/ComfyUI-pause
    "PauseWorkflowNode",
    "PauseWorkflowNodeWithSound",
    # yolain/ComfyUI-Easy-Use
    "easy imageChooser",
    "easy promptAwait",
    # justUmen/Bjornulf_custom_nodes
    "Bjornulf_PauseResume",
    "Bjornulf_PickInput",
    # filliptm/ComfyUI_Fill-Nodes
    "FL_ImagePicker",
    # Starnodes2024/ComfyUI_StarNodes
    "StarStopAndGo",
    # ArtHommage/HommageTools
    "HTPauseNode",
)
"""Node classes of well-known packs that wait for a person to click."""


def patience(classes: Collection[str], remote: Collection[str] | None, patient: Collection[str] = ()) -> Patience:
    """Return how long a job with nodes of these classes may be silent.

    ``remote`` are those of them that call an API elsewhere. None, where that could not be told, is taken for such a
    call: to be patient for too long does less harm. ``patient`` are classes besides PATIENT_NODES.
    """
    if not frozenset(classes).isdisjoint((*PATIENT_NODES, *patient)):
        return Patience.ENDLESS
    return Patience.NORMAL if remote is not None and not remote else Patience.REMOTE
