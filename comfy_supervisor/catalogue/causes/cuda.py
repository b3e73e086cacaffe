"""What goes wrong on the GPU while a job runs."""

from ..entry import ANYWHERE, RAISED, Entry, Place, Signature

_STICKY = (
    "an illegal memory access was encountered",
    "the launch timed out and was terminated",
    "device-side assert triggered",
    "hardware stack error",
    "an illegal instruction was encountered",
    "misaligned address",
    "operation not supported on global/shared address space",
    "invalid program counter",
    "unspecified launch failure",
    "tensor memory not completely freed",
    "the MPS client has been terminated",
    "uncorrectable ECC error encountered",
    "uncorrectable NVLink error detected",
)
"""In cudaGetErrorString's words: those of which CUDA's reference says that the process has to be started anew."""

ENTRIES = (
    Entry(
        "cuda_poisoned",
        "sticky",
        "A kernel on the GPU failed ({error}), and with it the process's whole CUDA context: from there on every job "
        "fails, with this error or with others. What follows it in the log is its consequence.",
        "Restart ComfyUI: comfy-supervisor restart (the health listener does so by itself). If it comes back with one "
        "workflow, that one's nodes or inputs are to blame: CUDA_LAUNCH_BLOCKING=1 in comfyui.environment names the "
        "node. "
        "Plain ComfyUI: end it and start it anew.",
        "CUDA Runtime API, cudaError: the process must be terminated and relaunched; ComfyUI issues 12524, 13142, "
        "15271",
        (
            *(Signature(words, rf"(?P<error>{words})", (*RAISED, Place.LOG)) for words in _STICKY),
            Signature("cudaErrorIllegalAddress", r"cudaError(?P<error>IllegalAddress)\b(?!')", RAISED),
            Signature(
                "NVRM: Xid",
                r"NVRM: (?P<error>Xid \([^)]{1,60}\): (?:13|31|43|45|63|68|94|109)\b)",
                ANYWHERE,
                weight=0.8,
            ),
            Signature("after that every use of the GPU fails", places=ANYWHERE),
        ),
        leads_to=(
            "cuda_oom",
            "cudnn_or_cublas_error",
            "host_oom_killed",
            "segfault",
            "worker_thread_died",
            "model_corrupt",
            "unknown",
        ),
        words={"error": "illegally"},
    ),
    Entry(
        "cuda_oom",
        "job",
        "A job needed more memory than the GPU had left ({wanted}). ComfyUI unloaded its models; the next job often "
        "works.",
        'Smaller pictures, batches or models; gpu.policy = "dynamic", or a lower tier (gpu.tiers), then '
        "comfy-supervisor apply; see with nvidia-smi who else uses the GPU. Plain ComfyUI: --lowvram, or from 0.25 on "
        "--vram-headroom.",
        "PyTorch's CUDACachingAllocator and CUDAMallocAsyncAllocator; ComfyUI issues 4852, 5278",
        (
            Signature(
                "out of memory. Tried to allocate",
                r"Tried to allocate (?P<wanted>[\d.]{1,12} [KMGT]iB)",
                (*RAISED, Place.LOG),
            ),
            Signature("Allocation on device", r"(?:Error: |!!! )Allocation on device"),
            Signature("Got an OOM, unloading all loaded models", places=ANYWHERE),
            Signature("CUDA error: out of memory", places=(*RAISED, Place.LOG)),
            Signature("HIP out of memory", places=(*RAISED, Place.LOG)),
            Signature("CUBLAS_STATUS_ALLOC_FAILED"),
            Signature("CUDNN_STATUS_ALLOC_FAILED"),
        ),
        leads_to=("cudnn_or_cublas_error",),
        words={"wanted": "more than was free"},
    ),
    Entry(
        "cudnn_or_cublas_error",
        "job",
        "One of NVIDIA's libraries refused a computation: {error}. Often memory was short, or another cuDNN than "
        "torch's "
        "own is found first.",
        "Drop LD_LIBRARY_PATH and separately installed nvidia-cudnn packages (comfyui.environment), leave some memory "
        "free, and restart if it stays: comfy-supervisor restart. The same with plain ComfyUI.",
        "cuDNN's and cuBLAS's status codes; PyTorch's ATen/cudnn; ComfyUI issue 11723",
        (
            Signature("CUDNN_STATUS_", r"(?P<error>CUDNN_STATUS_[A-Z_]{1,40})", RAISED),
            Signature("CUBLAS_STATUS_", r"(?P<error>CUBLAS_STATUS_[A-Z_]{1,40})", RAISED),
            Signature("CUSOLVER_STATUS_", r"(?P<error>CUSOLVER_STATUS_[A-Z_]{1,40})", RAISED),
            Signature("unable to find an engine to execute"),
            Signature("a valid cuDNN algorithm", r"(?P<error>[Uu]nable to find a valid cuDNN algorithm)", RAISED),
            Signature("cuDNN version incompatibility", r"(?P<error>cuDNN version incompatibility)", RAISED),
        ),
        words={"error": "no engine for it"},
    ),
)
