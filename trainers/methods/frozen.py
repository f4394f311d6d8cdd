"""The control: binary weights never change, and only the real parameters learn, by plain SGD.

Any claim that a rule trains binary weights is a claim to beat it. A model without real parameters learns nothing then.
Source: algorithm, section 6.
"""

from trainers.config import TrialConfig
from trainers.method import REAL_PARAMETERS_LR, Look, Method, SearchSpace, SimulatedCurve
from trainers.model import Model
from trainers.registry import model_named


def _space(model: Model) -> SearchSpace:
    """The learning rate of what is real, over the range that it has beside the rule that is controlled."""
    return {"lr": REAL_PARAMETERS_LR} if model.real_parameters else {}


def _describe(config: TrialConfig) -> str:
    learns = model_named(config.model).real_parameters
    return f"binary weights fixed, lr={config.lr:.3g}" if learns else "binary weights fixed"


METHOD = Method(
    name="frozen",
    help="the control whose binary weights never change",
    space=_space,
    describe=_describe,
    follows_lr=lambda settings: False,
    simulated=SimulatedCurve(
        {"frozen": 0.80}, lambda config: [(config.lr, 1e-2)] if model_named(config.model).real_parameters else []
    ),
    looks={"frozen": Look("#595959", "X")},
)
