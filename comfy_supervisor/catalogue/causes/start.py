"""What keeps ComfyUI from starting: its options, its port, its allocator, its database."""

from ..entry import ANYWHERE, ENDED, Entry, Place, Signature

ENTRIES = (
    Entry(
        "flag_conflict",
        "configuration",
        "Two of ComfyUI's options exclude each other: {flag} and {other}. It ends before it does anything.",
        "Drop one of them from comfyui.extra_args, then comfy-supervisor apply. Plain ComfyUI: drop one from its "
        "command.",
        "argparse, in ComfyUI's comfy/cli_args.py (mutually exclusive groups); every release",
        (
            Signature(
                "not allowed with argument",
                r"error: argument (?P<flag>[^\s:]{1,80}): not allowed with argument (?P<other>\S{1,80})",
                ANYWHERE,
                fatal=True,
            ),
        ),
        words={"flag": "one", "other": "another"},
    ),
    Entry(
        "flag_unknown",
        "configuration",
        "ComfyUI doesn't understand its command line: {flag}. It ends before it does anything.",
        "comfy-supervisor apply proves every option with the installed ComfyUI; its comfyui.extra_args are yours to "
        "mend. Plain ComfyUI: python main.py --help lists what this release knows.",
        "argparse, in ComfyUI's comfy/cli_args.py; options come and go: --normalvram went with 0.22.0",
        (
            Signature(
                "unrecognized arguments: ", r"error: unrecognized arguments: (?P<flag>.{1,120})", ANYWHERE, fatal=True
            ),
            Signature("main.py: error: ", r"main\.py: error: (?:argument )?(?P<flag>.{1,160})", ANYWHERE, fatal=True),
        ),
        words={"flag": "an option or its value is unknown to it"},
    ),
    Entry(
        "port_in_use",
        "configuration",
        "Another program listens on ComfyUI's port {port} already. ComfyUI found out after it had loaded everything.",
        "Stop the other program (ss -ltnp shows who listens), or set comfyui.port and comfy-supervisor apply. "
        "Plain ComfyUI: --port with another number.",
        "OSError 98 in asyncio up to ComfyUI 0.20; its own sentence from 0.21 on (server.py)",
        (
            Signature(
                "is already in use on address",
                r"Port (?P<port>\d{1,5}) is already in use on address",
                ANYWHERE,
                fatal=True,
            ),
            Signature(
                "error while attempting to bind on address",
                r"\[Errno 98\].{0,80}bind on address \(.{0,80}?, (?P<port>\d{1,5})",
                (*ENDED, Place.LOG),
            ),
            Signature("[Errno 98]", places=(*ENDED, Place.LOG)),
        ),
        words={"port": "(comfyui.port)"},
    ),
    Entry(
        "allocator_conflict",
        "configuration",
        "torch's memory allocator was chosen twice, and differently: once when torch was loaded, and once by "
        "ComfyUI's "
        "--cuda-malloc or by PYTORCH_CUDA_ALLOC_CONF (PYTORCH_ALLOC_CONF).",
        "Leave gpu.cuda_malloc = false and drop both variables from comfyui.environment and the service. "
        "Plain ComfyUI: --disable-cuda-malloc.",
        "PyTorch, c10/cuda/CUDAAllocatorConfig; ComfyUI issue 6831",
        (
            Signature("Allocator backend parsed at runtime", places=ANYWHERE),
            Signature("CUDAAllocatorConfig", "INTERNAL ASSERT.{0,80}CUDAAllocatorConfig", ANYWHERE),
            Signature("cudaMallocAsync does not yet support"),
        ),
    ),
    Entry(
        "db_locked",
        "transient",
        "Another process holds the lock of a SQLite database, ComfyUI's own most of the time: a second ComfyUI with "
        "the "
        "same one, or one that has not quite ended.",
        "comfy-supervisor gives each instance its own database; comfy-supervisor doctor finds leftovers. "
        "Plain ComfyUI: one --database-url sqlite:///FILE for each process.",
        "SQLite's SQLITE_BUSY; ComfyUI from 0.17 on (main.py, app/database/db.py)",
        (
            Signature("Database is locked. Another ComfyUI", places=ANYWHERE, fatal=True),
            Signature("database is locked", places=ANYWHERE),
        ),
    ),
)
