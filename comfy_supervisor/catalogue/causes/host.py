"""What the machine lacks: memory, disk, rights, descriptors, a network."""

from ..entry import ANYWHERE, ENDED, RAISED, Entry, Place, Signature, by_shell

ENTRIES = (
    Entry(
        "host_oom_killed",
        "transient",
        "The machine's memory (RAM, not the GPU's) ran out{wanted}, or somebody sent SIGKILL: most often the "
        "kernel's OOM "
        "killer, while a model was loaded.",
        "dmesg -T | grep -i oom shows the kernel's word. More RAM or swap, a smaller model, health.memory_limit to "
        "recycle in time, a higher limit of the container. Plain ComfyUI: --cache-none, --disable-pinned-memory.",
        "the kernel's oom_kill.c; PyTorch's c10/core/impl/alloc_cpu.cpp",
        (
            Signature("Out of memory: Killed process", places=ANYWHERE, fatal=True),
            Signature("emory cgroup out of memory: ", places=ANYWHERE, fatal=True),
            Signature("Killed", by_shell("Killed"), ANYWHERE, fatal=True, weight=0.8),
            Signature("DefaultCPUAllocator: ", r"tried to allocate(?P<wanted> \d{1,20} bytes)", RAISED),
            Signature("not enough memory: you tried to allocate"),
            Signature("MemoryError", r"^(?:[\w.]{1,80}\.)?_?(?:Array)?MemoryError\b", RAISED),
            Signature("[Errno 12] Cannot allocate memory"),
        ),
        signals=(9,),
        words={"wanted": ""},
    ),
    Entry(
        "disk_full",
        "transient",
        "A file system is full, or a quota is used up: {file} could not be written.",
        "df -h (and df -i) names the full one; free some, or point paths.output, paths.state or paths.logs elsewhere, "
        "then comfy-supervisor apply. Plain ComfyUI: --output-directory, --temp-directory, --user-directory.",
        "errno 28 (ENOSPC) and 122 (EDQUOT); SQLite's SQLITE_FULL",
        (
            Signature("No space left on device", r"No space left on device(?:: '(?P<file>[^']{1,300})')?", ANYWHERE),
            Signature("Disk quota exceeded", r"Disk quota exceeded(?:: '(?P<file>[^']{1,300})')?", ANYWHERE),
            Signature("database or disk is full", places=ANYWHERE),
            Signature("[Errno 27] File too large"),
        ),
        leads_to=("db_locked", "model_corrupt", "permission_denied", "custom_node_import_failed", "unknown"),
        words={"file": "a file"},
    ),
    Entry(
        "permission_denied",
        "configuration",
        "ComfyUI's account may not read or write {file}: wrong owner or mode, or a file system that is mounted "
        "read-only.",
        "Give it to the account of comfyui.user (chown -R), or mount it writable; comfy-supervisor doctor looks at "
        "owner and mode. Plain ComfyUI: the same, or --output-directory, --user-directory elsewhere.",
        "errno 13 (EACCES), 1 (EPERM) and 30 (EROFS); SQLite's SQLITE_READONLY",
        (
            Signature("[Errno 13]", r"\[Errno 13\] [^:]{1,60}(?:: '(?P<file>[^']{1,300})')?"),
            Signature("[Errno 1] Operation not permitted", r"not permitted(?:: '(?P<file>[^']{1,300})')?"),
            Signature("Read-only file system", r"Read-only file system(?:: '(?P<file>[^']{1,300})')?"),
            Signature("attempt to write a readonly database", places=ANYWHERE),
            Signature("unable to open database file", places=ANYWHERE, weight=0.7),
        ),
        leads_to=("custom_node_import_failed",),
        words={"file": "a file or folder"},
        may_pass=True,
    ),
    Entry(
        "too_many_open_files",
        "transient",
        "ComfyUI has as many files and connections open as it is allowed (ulimit -n), so it can open no further one.",
        "Raise the limit: LimitNOFILE= of the service, or ulimit -n 65536 before the start; if it grows for days, a "
        "node "
        "leaks them: health.recycle_after. Plain ComfyUI: ulimit -n 65536.",
        "errno 24 (EMFILE) and 23 (ENFILE); asyncio's selector_events.py",
        (
            Signature("Too many open files", places=ANYWHERE),
            Signature("socket.accept() out of system resource", places=ANYWHERE),
        ),
        leads_to=(
            "db_locked",
            "permission_denied",
            "network_timeout",
            "missing_module",
            "custom_node_import_failed",
            "worker_thread_died",
            "unknown",
        ),
    ),
    Entry(
        "network_timeout",
        "transient",
        "ComfyUI, or a custom node, waited for another machine that did not answer.",
        "See that this machine gets there (DNS, proxy, firewall): http_proxy and https_proxy go into "
        "comfyui.environment. "
        "Offline: HF_HUB_OFFLINE=1, and network_mode = offline in ComfyUI-Manager's config.ini. The same with plain "
        "ComfyUI.",
        "urllib's, requests', aiohttp's and httpx's exceptions; ComfyUI-Manager issues 1782, 1950",
        (
            Signature("Max retries exceeded with url"),
            Signature("Read timed out", places=RAISED),
            Signature("ConnectTimeout"),
            Signature("ReadTimeout"),
            Signature("<urlopen error"),
            Signature("TimeoutError: timed out"),
            Signature("TimeoutError: The read operation timed out"),
            Signature("Cannot connect to host", places=(*ENDED, Place.NODE)),
            Signature("Temporary failure in name resolution"),
            Signature("Name or service not known"),
            Signature("Network is unreachable"),
            Signature("ConnectionError: HTTP"),
        ),
        leads_to=("custom_node_import_failed",),
    ),
    Entry(
        "segfault",
        "sticky",
        "ComfyUI's process was ended by a fault in compiled code ({sign}), in torch, in the driver or in a custom "
        "node's "
        "library: Python can't tell more.",
        'The stack below "most recent call first" names the node. Update or remove it, reinstall torch, and test the '
        "machine's memory if it wanders. comfy-supervisor restarts ComfyUI by itself; PYTHONFAULTHANDLER=1 in "
        "comfyui.environment gives the stack where it is missing (ComfyUI up to 0.16).",
        "Python's faulthandler (on from ComfyUI 0.17); the C library's abort messages",
        (
            Signature(
                "Fatal Python error: ",
                r"Fatal Python error: (?P<sign>Segmentation fault|Aborted|Bus error|Floating.{0,20})",
                ANYWHERE,
                fatal=True,
            ),
            Signature("Segmentation fault", by_shell("(?P<sign>Segmentation fault)"), ANYWHERE, fatal=True),
            Signature("Bus error", by_shell("(?P<sign>Bus error)"), ANYWHERE, fatal=True),
            Signature("Aborted", by_shell("(?P<sign>Aborted)"), ANYWHERE, fatal=True, weight=0.8),
            Signature(
                "Caught signal ",
                r"Caught signal (?:11|7|6|8) \((?P<sign>[^():]{1,40})",
                ANYWHERE,
                fatal=True,
                weight=0.9,
            ),
            Signature("double free or corruption", r"(?P<sign>double free)", ANYWHERE, fatal=True),
            Signature("free(): ", r"(?P<sign>free\(\): [a-z ]{1,40})", ANYWHERE, fatal=True),
            Signature("malloc(): ", r"(?P<sign>malloc\(\): [a-z ]{1,40})", ANYWHERE, fatal=True),
            Signature("corrupted size vs. prev_size", places=ANYWHERE, fatal=True),
            Signature(
                "terminate called ",
                r"terminate called (?P<sign>after throwing.{0,80}|without.{0,40})",
                ANYWHERE,
                fatal=True,
            ),
        ),
        signals=(11, 7, 8, 6),
        words={"sign": "by a signal"},
    ),
)
