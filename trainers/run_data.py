"""The data of one run: what its configuration names, opened, and prepared first where that was not done."""

from trainers.config import TrialConfig
from trainers.data.loader import PreparedData, open_prepared


def data_of(config: TrialConfig) -> PreparedData:
    """The prepared data set of this run, without the classes that it does not use; raises as `open_prepared`."""
    return open_prepared(
        config.dataset,
        config.data_root,
        prepared_root=config.prepared_root,
        image_size=config.image_size,
        classes=config.classes,
        skip_damaged=config.skip_damaged,
    )
