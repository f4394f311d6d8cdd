"""A trained model as a folder of two files that predicts on its own: 1 bit a weight, and what it was trained for.

    weights.safetensors   binary weights as bits, weight scales, real parameters and running statistics; nothing that
                          only training needs (latents, moments, accumulators)
    model.json            how to build the network, what images it takes, its classes, and where it comes from

Where the model was fine-tuned from a pretrained file, a patch (`trainers.models.patch`) says the same beside that file
in a fraction of the bytes.
"""

from pathlib import Path

from torch import nn

from trainers.binary.layers import packed_state
from trainers.models.described import ModelDescription, restored_model
from trainers.models.model_folder import DESCRIPTION, WEIGHTS, read_model_folder, write_model_folder
from trainers.models.patch import load_patched

FORMAT = "binsfo-model-1"


def save_packed(folder: str | Path, model: nn.Module, about: ModelDescription, *, replace: bool = False) -> Path:
    """Write a packed model as a folder, whole or not at all; returns the folder's full path.

    Args:
        folder: is made; may be there already if it is empty.
        model: with packed stores, as `about` describes it.
        about: goes into `model.json`.
        replace: whether a packed model that is there already is replaced. Anything else is never touched.

    Raises:
        UserError: the folder is there already or cannot be written.
    """
    return write_model_folder(Path(folder), FORMAT, packed_state(model), about, replace=replace)


def load_packed(folder: str | Path, patch: str | Path | None = None) -> tuple[nn.Module, ModelDescription]:
    """The model that `save_packed` wrote, on the CPU, in evaluation mode and without gradients, and what it is.

    Args:
        folder: the model's; with a patch, the pretrained file that it is a patch of.
        patch: a folder that `python -m study export --patch` wrote.

    Raises:
        UserError: no packed model there, one of another format, or files that are damaged or do not fit each other; a
            patch of another file.
    """
    if patch is not None:
        return load_patched(folder, patch)
    found = read_model_folder(Path(folder), FORMAT)
    return restored_model(found.about, found.tensors, str(Path(folder) / WEIGHTS)), found.about


__all__ = ["DESCRIPTION", "FORMAT", "WEIGHTS", "ModelDescription", "load_packed", "restored_model", "save_packed"]
