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


class StoppedError(RuntimeError):
    """A run stopped because it was asked to; it has saved its state, and goes on when it is started again."""


class PreemptedError(StoppedError):
    """A run stopped because its machine is being taken away; it has saved its state, and goes on elsewhere."""


class OutOfMemoryError(RuntimeError):
    """The memory of the host or of the device does not hold the run."""


class DiskFullError(RuntimeError):
    """A file could not be written because its disk, or the user's share of it, is full; the last whole one is there."""


class StorageError(RuntimeError):
    """Shared storage cannot be reached, or refuses; what had been written there is there."""


class WorkersDiedError(RuntimeError):
    """The run's workers died again and again without an epoch's progress in between."""


class DataChangedError(RuntimeError):
    """A run's data or pretrained file, where it runs, are not those that its study began with."""
