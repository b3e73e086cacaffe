"""What goes wrong with a job: its model, its worker."""

from ..entry import ANYWHERE, RAISED, Entry, Place, Signature

_LOADERS = (
    r"(?:\w{1,20}_)?(?:ckpt|unet|clip|vae|lora|control_net|model|gligen|text_encoder)\w{0,20}: '"
    r"|\w{1,60}: '(?=[^']{1,200}\.(?:safetensors|sft|ckpt|pth|pt|bin|gguf|onnx)')"
)
"""Inputs that name a model file, by their own name or by the file's."""

ENTRIES = (
    Entry(
        "worker_thread_died",
        "sticky",
        "The thread that runs ComfyUI's jobs has ended: its API answers on, but no job will ever run again.",
        "Restart ComfyUI: comfy-supervisor restart (the health listener does so by itself, and puts the queue back). "
        "Plain ComfyUI: end it and start it anew; its queue is lost.",
        "Python's threading, for ComfyUI's prompt_worker (main.py); ComfyUI issues 10514, 11023, 16312",
        (
            Signature("(prompt_worker)", r"Exception in thread Thread-\d+ \(prompt_worker\)", ANYWHERE),
            Signature("in prompt_worker", r'main\.py", line \d+, in prompt_worker', (Place.THREAD,)),
            Signature("worker thread has died", places=ANYWHERE),
        ),
    ),
    Entry(
        "model_missing",
        "job",
        "A workflow wants the model file {file}, which ComfyUI doesn't have.",
        "Put it into the folder of its kind under ComfyUI's models/ (or one that extra_model_paths.yaml names), or "
        "choose "
        "another in the workflow. A new file is seen without a restart.",
        "ComfyUI's execution.py (validate_inputs) and folder_paths.py (get_full_path_or_raise)",
        (
            Signature("not in list: ", rf"Value not in list: (?:{_LOADERS})(?P<file>[^']{{1,200}})' not in", ANYWHERE),
            Signature("Model in folder '", r"with filename '(?P<file>[^']{1,200})' not found", ANYWHERE),
            Signature(
                "[Errno 2] No such file or directory: ",
                r"directory: '(?P<file>[^']{0,300}\.(?:safetensors|sft|ckpt|pth|pt|bin|gguf|onnx))'",
                RAISED,
            ),
        ),
        words={"file": "that it names"},
    ),
    Entry(
        "model_corrupt",
        "job",
        "A model file can't be read: it was cut off while it was downloaded or copied, or is a web page or a pointer "
        "that "
        "was saved in its name.",
        "Compare its size and checksum with where it is from, and download it anew. The line above names the "
        "loader's node.",
        "safetensors' error names; PyTorch's PyTorchStreamReader and pickle",
        (
            Signature("while deserializing header"),
            Signature("HeaderTooLarge"),
            Signature("MetadataIncompleteBuffer"),
            Signature("InvalidHeaderDeserialization"),
            Signature("PytorchStreamReader failed"),
            Signature("invalid load key, "),
            Signature("unpickling stack underflow"),
            Signature("EOFError: Ran out of input"),
            Signature("is corrupt or invalid"),
            Signature("Weights only load failed", weight=0.7),
            Signature("cannot mmap an empty file"),
        ),
    ),
)
