"""Nodes for a real ComfyUI whose jobs show what is watched for."""


class HealthFail:
    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802  # ComfyUI's name for it
        return {"required": {"message": ("STRING", {"default": "", "multiline": True})}}

    RETURN_TYPES = ()
    FUNCTION = "fail"
    OUTPUT_NODE = True
    CATEGORY = "stand-in"

    @classmethod
    def IS_CHANGED(cls, **_inputs):  # noqa: N802
        return float("nan")

    def fail(self, message):
        raise RuntimeError(message)


class HealthRemote(HealthFail):
    API_NODE = True


NODE_CLASS_MAPPINGS = {"HealthFail": HealthFail, "HealthRemote": HealthRemote}
