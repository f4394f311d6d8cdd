"""The control: binary weights never change, and only the real parameters learn.

Any claim that a rule trains binary weights is a claim to beat it. A model without real parameters learns nothing then.
Source: algorithm, section 6.
"""

from trainers.config import TrialConfig
from trainers.method import Look, Method, SimulatedCurve, real_parameters_lr


def _describe(config: TrialConfig) -> str:
    return f"binary weights fixed, lr={config.lr:.3g}" if config.lr_trains_real else "binary weights fixed"


METHOD = Method(
    name="frozen",
    help="the control whose binary weights never change",
    space=real_parameters_lr,
    describe=_describe,
    follows_lr=lambda settings: False,
    simulated=SimulatedCurve({"frozen": 0.80}, lambda config: [(config.lr, 1e-2)] if config.lr_trains_real else []),
    looks={"frozen": Look("#595959", "X")},
)
