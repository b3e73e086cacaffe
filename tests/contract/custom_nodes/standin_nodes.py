"""Two of the stand-in's nodes for a real ComfyUI, so that both can be given the same jobs."""

import time

import comfy.model_management
import comfy.utils


class StandinSleep:
    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802  # ComfyUI's name for it
        return {
            "required": {"seconds": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1e6})},
            "optional": {"steps": ("INT", {"default": 10, "min": 1, "max": 1_000_000})},
        }

    RETURN_TYPES = ("FLOAT",)
    FUNCTION = "sleep"
    OUTPUT_NODE = True
    CATEGORY = "stand-in"

    @classmethod
    def IS_CHANGED(cls, **_inputs):  # noqa: N802
        return float("nan")

    def sleep(self, seconds, steps=10):
        bar = comfy.utils.ProgressBar(steps)
        for _ in range(steps):
            end = time.monotonic() + seconds / steps
            while time.monotonic() < end:
                comfy.model_management.throw_exception_if_processing_interrupted()
                time.sleep(min(0.02, seconds / steps))
            bar.update(1)
        return {"ui": {"text": [f"slept {seconds:g} s"]}, "result": (seconds,)}


class StandinFail:
    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"kind": (["error", "cuda_poisoned", "cuda_error", "cuda_oom"], {"default": "error"})}}

    RETURN_TYPES = ()
    FUNCTION = "fail"
    OUTPUT_NODE = True
    CATEGORY = "stand-in"

    @classmethod
    def IS_CHANGED(cls, **_inputs):  # noqa: N802
        return float("nan")

    def fail(self, kind):  # noqa: ARG002  # ComfyUI passes it
        raise RuntimeError("the stand-in's node was told to fail")


NODE_CLASS_MAPPINGS = {"StandinSleep": StandinSleep, "StandinFail": StandinFail}
