"""A node for a real ComfyUI whose work is the same each time, however long it takes: whoever takes its CPU is seen."""

import importlib


class BenchCompute:
    """Adds numbers, and reports its steps."""

    @classmethod
    def INPUT_TYPES(cls):  # type: ignore[no-untyped-def] # noqa: N802  # ComfyUI's name for it
        return {"required": {"steps": ("INT", {"default": 30, "min": 1, "max": 1_000_000})}}

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "bench"

    @classmethod
    def IS_CHANGED(cls, **_inputs):  # type: ignore[no-untyped-def] # noqa: N802
        return float("nan")

    def run(self, steps):  # type: ignore[no-untyped-def]
        bar = importlib.import_module("comfy.utils").ProgressBar(steps)
        for _ in range(steps):
            for _ in range(20):
                sum(range(50_000))
            bar.update(1)
        return ()


NODE_CLASS_MAPPINGS = {"BenchCompute": BenchCompute}
