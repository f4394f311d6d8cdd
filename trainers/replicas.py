"""What the workers of one run do together: sums over all of them, and the check that they hold the same weights.

A run with one worker needs no process group: every sum is the tensor itself.
"""

import hashlib
from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn

from trainers.errors import ReplicaError


class Replicas:
    """The group of workers that train one model together, as seen by one of them.

    Args:
        rank, size: this worker's number and how many there are; more than one needs torch's process group to be up.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all workers, in place, on every worker."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Every worker's tensor (all of one shape), in the order of ranks, on every worker."""
        if self.size == 1:
            return [tensor]
        gathered = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(gathered, tensor)
        return gathered

    def maximum(self, value: int) -> int:
        """The largest of all workers' numbers, on every worker."""
        return max(self.gather_numbers(value))

    def gather_numbers(self, value: int) -> list[int]:
        """Every worker's number, in the order of ranks, on every worker."""
        return [int(number) for number in self.gather(torch.tensor([value], device=self._device()))]

    def share(self, count: int) -> slice:
        """This worker's part of `count` items in a row; parts differ by one item at most."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def barrier(self) -> None:
        """Wait until every worker is here."""
        if self.size > 1:
            dist.barrier()

    def require_equal(self, model: nn.Module, state: Mapping[str, float | Tensor | None], epoch: int) -> None:
        """Compare all workers' weights and their rules' state by hash; one worker has nothing to compare.

        Raises:
            ReplicaError: they differ; it names the ranks that disagree with rank 0.
        """
        if self.size == 1:
            return
        digest = state_hash(model, state)
        local = torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8, device=self._device())
        hashes = [bytes(other.tolist()).hex() for other in self.gather(local)]
        strays = [rank for rank, other in enumerate(hashes) if other != hashes[0]]
        if strays:
            raise ReplicaError(
                f"after epoch {epoch} workers {strays} hold other weights than worker 0, so this run's numbers mean "
                "nothing; all workers need the same software, device kind and number of threads"
            )

    @staticmethod
    def _device() -> torch.device:
        """Where the process group wants its tensors: NCCL moves only CUDA tensors."""
        on_cuda = dist.is_initialized() and dist.get_backend() == "nccl"
        return torch.device("cuda" if on_cuda else "cpu")


def state_hash(model: nn.Module, state: Mapping[str, float | Tensor | None]) -> str:
    """SHA-256 over every tensor of the model, in order, and the update rule's tensors and numbers by name."""
    digest = hashlib.sha256()
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    for name, tensor in (*model.state_dict().items(), *sorted(tensors.items())):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    digest.update(repr(sorted((name, value) for name, value in state.items() if name not in tensors)).encode())
    return digest.hexdigest()
