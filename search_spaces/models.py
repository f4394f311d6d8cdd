"""What a search space has to know of a model: whether anything in it is real-valued and learns."""

# BinaryLinear layers and batch norm without affine parameters: every weight of the MLP is binary.
WITHOUT_REAL_PARAMETERS = frozenset({"MLP"})


def has_real_parameters(model: str) -> bool:
    """Whether the model has real-valued parameters beside its binary weights."""
    return model not in WITHOUT_REAL_PARAMETERS
