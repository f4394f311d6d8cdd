"""Which runs take the same memory."""

from trainers.config import TrialConfig
from trainers.registry import fields_of


def what_takes_memory(config: TrialConfig) -> TrialConfig:
    """One worker's share of a run, with all that decides no tensor's size at its default: equal ones take the same."""
    known = fields_of(config.algorithm, config.model)
    neutral = {name: setting.default for name, setting in known.items() if not setting.memory and name != "dataset"}
    share = -(-config.batch_size // config.workers)
    return config.replace(
        **{**neutral, "dataset": "any", "batch_size": share, "workers": 1},
        # The file's signs and scales take the room that drawn ones take.
        pretrained=None,
        weight_scale=config.scale_kind,
        xnor=False,
    )
