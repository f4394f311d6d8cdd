"""The categories of memory, and the ledger that says how much of each there was at the moment of the peak.

Both the measured and the predicted peak are kept by one ledger: what was alive before the step, then every allocation
and every free in order. So they mean the same thing and can be compared category by category.
"""

from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True)
class MemoryReport:
    """Bytes alive at the moment when most were; the categories add up to the total.

    Attributes:
        weights: packed bits and their scales.
        latent: real-valued tensors of binary layers, of which the forward pass sees the signs.
        optimizer_state: torch's optimizer state and the update rules' own, such as Bop's momentum or BinSFO's counters.
        gradients: of parameters, and the blocks that backward hands to packed layers' rules.
        saved_activations: what autograd keeps from forward to backward.
        real_parameters_and_buffers: everything else that the model owns.
        workspace: whatever the total holds beyond the others: activations in passing, temporaries, libraries' copies.
    """

    weights: int
    latent: int
    optimizer_state: int
    gradients: int
    saved_activations: int
    real_parameters_and_buffers: int
    workspace: int

    @property
    def total(self) -> int:
        """The peak, in bytes."""
        return sum(self.by_category().values())

    def by_category(self) -> dict[str, int]:
        """Bytes by category name."""
        return asdict(self)

    def metrics(self) -> dict[str, int]:
        """As a run's metrics: `peak_memory_bytes`, and `memory_<category>_bytes` for each category."""
        parts = {f"memory_{name}_bytes": value for name, value in self.by_category().items()}
        return {"peak_memory_bytes": self.total, **parts}


CATEGORIES = tuple(field.name for field in fields(MemoryReport))
WORKSPACE = "workspace"


@dataclass
class _Interval:
    """One storage's life, in numbers of ledger entries; `end` is None while it is alive."""

    size: int
    category: str
    start: int
    end: int | None = None


class Ledger:
    """Allocations and frees in order, by the storage's key (an address, or any number that names a live storage).

    A storage has one category all its life: the first that it is given, by `hold` or `tag`; without one it is
    workspace.
    """

    def __init__(self) -> None:
        self._alive: dict[int, _Interval] = {}
        self._all: list[_Interval] = []
        self._now = 0
        self._current = self._highest = self._passing = 0
        self._peak_at = 0

    def hold(self, key: int, size: int, category: str) -> None:
        """A storage that is alive before the step; one that is known already keeps its category."""
        if key not in self._alive:
            self.allocate(key, size)
            self._alive[key].category = category

    def allocate(self, key: int, size: int) -> None:
        """A storage begins."""
        self._now += 1
        self._alive[key] = _Interval(size, WORKSPACE, self._now)
        self._all.append(self._alive[key])
        self._current += size
        self._reached(0)

    def free(self, key: int) -> None:
        """A storage ends; one that was never entered (alive before, and not held) is passed over."""
        interval = self._alive.pop(key, None)
        if interval is not None:
            self._now += 1
            interval.end = self._now
            self._current -= interval.size

    def tag(self, key: int, category: str) -> None:
        """Say what a live storage is for, unless that is known."""
        interval = self._alive.get(key)
        if interval is not None and interval.category == WORKSPACE:
            interval.category = category

    def passing(self, size: int) -> None:
        """`size` bytes beside everything that is alive, gone at once: a library's scratch."""
        self._now += 1
        self._reached(size)

    def _reached(self, extra: int) -> None:
        if self._current + extra > self._highest:
            self._highest, self._passing, self._peak_at = self._current + extra, extra, self._now

    def report(self, total: int | None = None) -> MemoryReport:
        """The bytes of each category at the first moment of the peak.

        Args:
            total: the peak by another account, the device allocator's own; workspace takes the difference.
        """
        sums = dict.fromkeys(CATEGORIES, 0)
        for interval in self._all:
            if interval.start <= self._peak_at and (interval.end is None or interval.end > self._peak_at):
                sums[interval.category] += interval.size
        sums[WORKSPACE] += self._passing
        if total is not None:
            sums[WORKSPACE] += total - sum(sums.values())
        return MemoryReport(**sums)
