"""What is wrong between torch, the driver and the GPU."""

from ..entry import ANYWHERE, ENDED, RAISED, Entry, Place, Signature

ENTRIES = (
    Entry(
        "gpu_lost",
        "sticky",
        "The GPU is gone or has locked itself up ({sign}): the driver can't reach it any more. No restart of ComfyUI "
        "brings it back.",
        "Read dmesg for the Xid, then reboot, or nvidia-smi --gpu-reset (stop comfyui-health first); look at power, "
        "risers and heat. Then comfy-supervisor reset. If CUDA_VISIBLE_DEVICES hides it: comfy-supervisor gpus.",
        "NVIDIA's XID Errors guide (46 48 62 64 79 95 119 120 140 143); NVML's NVML_ERROR_GPU_IS_LOST; "
        "cudaErrorNoDevice",
        (
            Signature(
                "NVRM: Xid",
                r"NVRM: (?P<sign>Xid \([^)]{1,60}\): (?:46|48|62|64|79|95|119|120|140|143)\b)",
                ANYWHERE,
            ),
            Signature("has fallen off the bus", r"(?P<sign>fallen off the bus)", ANYWHERE),
            Signature("GPU is lost", r"(?P<sign>GPU is lost)", ANYWHERE),
            Signature(
                "no CUDA-capable device is detected",
                r"(?P<sign>no CUDA-capable device is detected)",
                RAISED,
                weight=0.8,
            ),
            Signature("No CUDA GPUs are available", r"(?P<sign>No CUDA GPUs are available)", ENDED, weight=0.7),
            Signature("devices are busy or unavailable", r"(?P<sign>busy or unavailable)", RAISED, weight=0.7),
        ),
        leads_to=(
            "cuda_poisoned",
            "cudnn_or_cublas_error",
            "driver_mismatch",
            "segfault",
            "worker_thread_died",
            "unknown",
        ),
        words={"sign": "the log shows it"},
    ),
    Entry(
        "driver_mismatch",
        "configuration",
        "The NVIDIA driver can't be used by this torch: {sign}. It isn't loaded, is older than torch's CUDA needs, or "
        "its library in user space is of another version than the one in the kernel.",
        "comfy-supervisor doctor tells which; after a driver update reboot, else update the driver or install a torch "
        'for the CUDA that nvidia-smi names. Without a GPU: gpu.devices = "cpu" (plain ComfyUI: --cpu).',
        "PyTorch's c10/cuda/CUDAFunctions.cpp and torch/cuda/__init__.py; cudaError 34, 35, 803, 804; ComfyUI issue "
        "10415",
        (
            Signature("Found no NVIDIA driver", r"(?P<sign>Found no NVIDIA driver)", RAISED),
            Signature(
                "NVIDIA driver on your system is too old",
                r"(?P<sign>driver.{0,20} is too old \(found version \d+\))",
                ANYWHERE,
            ),
            Signature("river/library version mismatch", r"(?P<sign>[Dd]river/library version mismatch)", ANYWHERE),
            Signature("Error 803: ", r"(?P<sign>Error 803)", ANYWHERE),
            Signature("Error 804: ", r"(?P<sign>Error 804)", ANYWHERE),
            Signature(
                "driver version is insufficient",
                r"(?P<sign>driver version is insufficient for CUDA runtime version)",
                ANYWHERE,
            ),
            Signature("CUDA driver initialization failed", r"(?P<sign>CUDA driver initialization failed)", RAISED),
            Signature("CUDA unknown error - ", r"(?P<sign>CUDA unknown error)", ENDED),
            Signature("CUDA driver is a stub library", r"(?P<sign>CUDA driver is a stub library)", ANYWHERE),
        ),
        leads_to=("cpu_fallback", "no_cuda_torch"),
        words={"sign": "see its lines"},
    ),
    Entry(
        "no_cuda_torch",
        "configuration",
        "The installed torch is a build without CUDA, so ComfyUI can't use the GPU, and ends.",
        "Install a torch with CUDA with the interpreter of comfyui.python (pytorch.org names the command), or set "
        'gpu.devices = "cpu", then comfy-supervisor apply. Plain ComfyUI without a GPU: --cpu.',
        "PyTorch's torch/cuda/__init__.py (_lazy_init); ComfyUI's README",
        (Signature("Torch not compiled with CUDA enabled"), Signature("PyTorch was compiled without CUDA support")),
    ),
    Entry(
        "arch_unsupported",
        "configuration",
        "The installed torch, or a compiled package, has no code for this GPU's generation ({arch}).",
        "Install a torch built for it (cu128 or later for Blackwell, cu126 for Pascal and Maxwell) with the "
        "interpreter "
        "of comfyui.python, and rebuild attention packages for it. The same with plain ComfyUI.",
        "cudaErrorNoKernelImageForDevice; PyTorch's torch/cuda/__init__.py (_check_capability); ComfyUI issues 7677, "
        "10326",
        (
            Signature("no kernel image is available", places=(*RAISED, Place.LOG)),
            Signature(
                "is not compatible with the current PyTorch",
                r"CUDA capability (?P<arch>sm_\w{1,12}) is not compatible",
                ANYWHERE,
                weight=0.6,
            ),
            Signature("which is of cuda capability", r"(?P<arch>cuda capability \d{1,3}\.\d)", ANYWHERE, weight=0.5),
            Signature("invalid device function"),
            Signature("provided PTX was compiled with an unsupported toolchain"),
        ),
        leads_to=("cuda_poisoned", "cudnn_or_cublas_error", "segfault"),
        words={"arch": "its compute capability"},
    ),
    Entry(
        "cpu_fallback",
        "configuration",
        "ComfyUI computes on the CPU, though a GPU may have been meant: {sign}.",
        "comfy-supervisor doctor says whether torch was built with CUDA and sees the GPU; gpu.require = true holds "
        "such "
        "an instance back. Plain ComfyUI: without --cpu, and with a torch for CUDA.",
        "PyTorch's torch/cuda/__init__.py (is_available warns and says no)",
        (
            Signature(
                "UserWarning: CUDA initialization: ",
                r"UserWarning: (?P<sign>CUDA initialization: .{1,60})",
                (Place.LOG,),
                weight=0.7,
            ),
            Signature("ComfyUI computes on the CPU, though", places=ANYWHERE),
        ),
        words={"sign": "it says so"},
    ),
)
