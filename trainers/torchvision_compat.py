"""Import torchvision beside any torch, also where its compiled operators do not fit.

The torchvision wheel from PyPI is built for CUDA. Beside a CPU build of torch its `_C.so` cannot be loaded, and then
even `import torchvision` fails: its modules describe operators (`torchvision::nms`, `torchvision::qnms`) that the
missing library should have declared ("operator torchvision::nms does not exist"). Declaring the two schemas ourselves
is enough: datasets, transforms and models then work. The operators themselves stay without an implementation, so
`ops.nms` and torchvision's own image decoding are unavailable; pictures are decoded with Pillow here.

Where `_C.so` loads, nothing is declared and torchvision is imported as usual. This is the only module that knows any of
this; use it wherever torchvision is needed, and only there, so that a run on prepared data needs no torchvision.
"""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
# Declarations live as long as their Library object, so it is kept for the life of the process.
_declared: torch.library.Library | None = None


def torchvision_module(name: str = "torchvision") -> ModuleType:
    """Import torchvision or one of its modules, for example `torchvision_module("torchvision.datasets")`.

    Raises:
        ModuleNotFoundError: torchvision is not installed.
    """
    global _declared
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("torchvision is not installed; pip install torchvision")
    if _declared is None and not _has_operator("nms"):
        library = next(Path(spec.submodule_search_locations[0]).glob("_C.*"), None)
        try:
            if library is None:
                raise OSError("this torchvision has no compiled part")
            torch.ops.load_library(str(library))
        except OSError:
            _declared = torch.library.Library("torchvision", "DEF")
            for operator in ("nms", "qnms"):
                _declared.define(operator + _SCHEMA)
    return importlib.import_module(name)


def _has_operator(name: str) -> bool:
    """Whether someone (torchvision itself, or a declaration such as ours) has declared the operator already."""
    return hasattr(torch.ops.torchvision, name)
