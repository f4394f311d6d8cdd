"""What can go wrong with a run, as types: what a user can mend, and what training itself did.

Everything a user can cause is a `UserError`: the command line prints its message alone, without a traceback. Its
message says what was got, what is allowed and what to do.
"""


class UserError(ValueError):
    """Input that cannot be used: what was got, what is allowed, what to do."""


class DivergedError(RuntimeError):
    """The training loss became NaN or infinite, so the run ended at once."""


class ReplicaError(RuntimeError):
    """Two workers hold different weights after an epoch, so nothing they report can be trusted."""


class InvariantError(RuntimeError):
    """A run that checks itself found a tensor that should not be there, or not hold what it holds; names the tensor."""
