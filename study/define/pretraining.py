"""`pretrain`: what a study's networks are trained on before its cells start from them.

    pretrain:
      dataset: Digits
      fixed: {classes: 0..4, epochs: 15, lr: 0.01}

A cell's network must be the one that was pretrained, so a pretraining has the cell's settings (of the model, the
images, the batch and so on), and `fixed` goes before them. Cells with the same settings share one pretraining.
"""

from typing import Annotated

from pydantic import BaseModel, Field, StrictStr, WithJsonSchema

from study.define.cells import Cell
from study.define.refusals import OneOf
from study.define.settings import CONFIG, RUN_RESOURCES, FixedSettings, Seed
from trainers.config import TrialConfig
from trainers.data.catalog import CATALOG
from trainers.errors import UserError
from trainers.registry import settings_of

DatasetName = Annotated[
    StrictStr,
    Field(min_length=1),
    WithJsonSchema({"anyOf": [{"enum": list(CATALOG)}, {"type": "string", "minLength": 1}]}),
]
_OF_THE_CELL = ("dataset", "classes", "pretrained", "activation_memory")
"""Settings of the workload that a pretraining does not take from its cell."""


class Pretraining(BaseModel):
    """A real-space training whose network, binarized, the study's cells start from."""

    model_config = CONFIG

    dataset: DatasetName
    """What to pretrain on: a name of the catalog, or the path of your own Parquet file or class folders."""
    optimizer: Annotated[StrictStr, OneOf(lambda: ("SGD", "Adam"))] = "Adam"
    """SGD or Adam."""
    seed: Seed = 1
    """Of every random draw."""
    fixed: FixedSettings = Field(default_factory=dict)
    """Settings of the pretraining, e.g. `{classes: 0..4, epochs: 15, lr: 0.01}`; all else is as in the cells."""

    def config(self, cell: Cell) -> TrialConfig:
        """The pretraining for a cell.

        Raises:
            UserError: a setting that no such run could have, or a cell that has a pretrained file already.
        """
        base = cell.base
        if base.pretrained is not None:
            raise UserError(f"pretrain: {cell.name} has a pretrained file already; leave one of the two out")
        own = settings_of("real", base.model)
        taken = {
            setting.name: getattr(base, setting.name)
            for setting in own
            if setting.scope == "workload" and setting.name not in _OF_THE_CELL
        }
        execution = {name: getattr(base, name) for name in (*RUN_RESOURCES, "data_root", "prepared_root")}
        if unread := sorted(set(self.fixed).difference(setting.name for setting in own)):
            raise UserError(f"pretrain: fixed: {unread[0]} means nothing to a real-space training; take it out")
        run = {"dataset": self.dataset, "model": base.model, "algorithm": "real", "optimizer": self.optimizer}
        try:
            return TrialConfig.from_dict({**taken, **execution, "seed": self.seed, **self.fixed, **run})
        except UserError as error:
            raise UserError(f"pretrain: {error}") from None
