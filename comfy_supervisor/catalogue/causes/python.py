"""What is wrong with the packages that ComfyUI's interpreter finds."""

from ..entry import ANYWHERE, ENDED, RAISED, Entry, Place, Signature, by_shell

_PIP = "PYTHON -m pip install"

ENTRIES = (
    Entry(
        "binary_incompatible",
        "configuration",
        "A compiled package doesn't fit what is installed beside it: {module} was built for another torch, another "
        "NumPy, another C library or another processor.",
        f"With the interpreter of comfyui.python: {_PIP} --force-reinstall -r requirements.txt in ComfyUI's folder, "
        f"and "
        "build or install the named package for the torch that is there. The same with plain ComfyUI.",
        "the dynamic linker's and NumPy's messages; the NumPy 2.0 migration guide",
        (
            Signature("undefined symbol: ", r"(?P<module>[^/\s:]{1,120}?\.so[^\s:]{0,20}): undefined symbol", ANYWHERE),
            Signature(
                "' not found (required by ",
                r"version `(?:GLIBC|GLIBCXX|CXXABI)_[\w.]{1,20}' not found \(required by "
                r"(?:\S{0,400}/)?(?P<module>[^/\s)]{1,120})",
                ANYWHERE,
            ),
            Signature("numpy.core.multiarray failed to import"),
            Signature("numpy._core.multiarray failed to import"),
            Signature("compiled using NumPy 1.x", places=(*ENDED, Place.LOG, Place.NODE), weight=0.4),
            Signature("may indicate binary incompatibility"),
            Signature(
                "cannot open shared object file",
                r"(?:ImportError|OSError): (?P<module>[^\s:]{1,120}\.so[^\s:]{0,20}): ",
            ),
            Signature("invalid ELF header"),
            Signature("operator torchvision::nms does not exist"),
            Signature("Fatal Python error: Illegal instruction", places=ANYWHERE, fatal=True),
            Signature("Illegal instruction", by_shell("Illegal instruction"), ANYWHERE, fatal=True),
        ),
        signals=(4,),
        leads_to=("custom_node_import_failed", "missing_module", "segfault"),
        words={"module": "it"},
    ),
    Entry(
        "missing_module",
        "configuration",
        "ComfyUI's interpreter has no module {module}: its packages are older than its code, or it is another "
        "interpreter than you think.",
        f"With the interpreter of comfyui.python: {_PIP} -r requirements.txt in ComfyUI's folder; "
        "comfy-supervisor doctor names what else is missing. The same with plain ComfyUI.",
        "Python's ModuleNotFoundError, outside of custom nodes' imports",
        (
            Signature("No module named ", r"ModuleNotFoundError: No module named '(?P<module>[^']{1,120})", ENDED),
            Signature(
                "cannot import name", r"ImportError: cannot import name .{1,200}from '(?P<module>[^']{1,120})", ENDED
            ),
        ),
        words={"module": "that it needs"},
    ),
    Entry(
        "custom_node_import_failed",
        "warning",
        "The nodes of {node} could not be imported ({reason}). ComfyUI runs without them: only workflows that need "
        "them fail.",
        f"Install what they lack with the interpreter of comfyui.python ({_PIP} -r requirements.txt in the package's "
        "folder; in ComfyUI's, for its own in comfy_extras), update the package, or move its folder out of "
        "custom_nodes. The same with plain ComfyUI.",
        "ComfyUI's nodes.py (load_custom_node), every release",
        (
            Signature(
                "module for custom nodes: ",
                r"Cannot import (?:.{0,300}/)?(?P<node>[^/\n]{1,120}) module for custom nodes: (?P<reason>.{1,200})",
                (*RAISED, Place.LOG),
            ),
            Signature(
                "Failed to execute startup-script: ",
                r"startup-script: (?:.{0,300}/)?(?P<node>[^/\s]{1,120})/prestartup_script\.py / (?P<reason>.{1,200})",
                ANYWHERE,
            ),
        ),
        words={"node": "a package that the log names", "reason": "the lines above say why"},
    ),
)
