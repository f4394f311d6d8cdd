"""What a model is worth on a split: accuracy, and beside it what keeps accuracy from flattering.

On data where one class is common, a model that always names it looks good. So beside accuracy stand

* balanced accuracy: the mean over classes of the share of each that is recognised (mean recall; 1/classes for a
  constant answer), over the classes that the split has pictures of,
* the share of the split's largest class: the accuracy of always naming that one.

Top-5 accuracy is given for more than five classes; for fewer every answer would be right.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch

from trainers.data.loader import Split
from trainers.data.prefetch import gathered
from trainers.learner import Learner
from trainers.progress import Metrics
from trainers.replicas import Replicas

TOP = 5
"""Answers that top-5 accuracy looks at."""


@dataclass(frozen=True)
class Evaluation:
    """Counts of right answers on a split, over all workers.

    Attributes:
        pictures: of each class, how many the split has, int64 (classes,).
        right: of each class, how many were named first, int64 (classes,).
        among_five: how many pictures had their class among the first five answers; None for five classes or fewer.
        answers: of each picture the class that was named first, int64 (pictures,); None where that was not asked for.
    """

    pictures: np.ndarray
    right: np.ndarray
    among_five: int | None
    answers: np.ndarray | None = None

    @property
    def accuracy(self) -> float:
        """Share of the pictures whose class was named first."""
        return int(self.right.sum()) / int(self.pictures.sum())

    @property
    def balanced_accuracy(self) -> float:
        """Mean over the classes present of the share that was named first."""
        present = self.pictures > 0
        return float((self.right[present] / self.pictures[present]).mean())

    @property
    def majority_share(self) -> float:
        """Share of the largest class: the accuracy of always naming it."""
        return int(self.pictures.max()) / int(self.pictures.sum())

    def metrics(self, split: str) -> Metrics:
        """By name, for `split` val or test: val_accuracy, val_accuracy_balanced, val_majority_share and, where there
        are more than five classes, val_accuracy_top5; fractions."""
        found: Metrics = {f"{split}_accuracy": self.accuracy}
        if self.among_five is not None:
            found[f"{split}_accuracy_top5"] = self.among_five / int(self.pictures.sum())
        return {
            **found,
            f"{split}_accuracy_balanced": self.balanced_accuracy,
            f"{split}_majority_share": self.majority_share,
        }


def evaluate(
    learner: Learner,
    split: Split,
    replicas: Replicas,
    num_classes: int,
    batch_size: int,
    *,
    answers: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Count right answers, each worker on its share of every batch; the model is left in evaluation mode.

    Running statistics normalise, so no picture's answer depends on those beside it: the counts are the same for every
    batch size.
    """
    learner.model.eval()
    first = torch.zeros(len(split) if answers else 0, dtype=torch.int64, device=learner.device)
    right = torch.zeros(num_classes + 1, dtype=torch.int64, device=learner.device)  # and, last, those among five
    batches = np.split(np.arange(len(split)), range(batch_size, len(split), batch_size))
    shares = [mine for batch in batches if len(mine := batch[replicas.share(len(batch))])]
    with closing(gathered(split, shares, learner.device)) as ahead:
        for number, (mine, (images, labels)) in enumerate(zip(shares, ahead, strict=True)):
            progress(number * batch_size, len(split))
            labels = labels.to(learner.device, non_blocking=True)
            named = learner.answers(images, TOP)
            if answers:
                first[torch.from_numpy(mine).to(learner.device)] = named[:, 0]
            hits = named == labels.unsqueeze(1)
            right[:-1] += torch.bincount(labels[hits[:, 0]], minlength=num_classes)
            right[-1] += hits.sum()
    counts = replicas.sum(right).cpu().numpy()
    return Evaluation(
        pictures=np.bincount(split.labels, minlength=num_classes),
        right=counts[:-1],
        among_five=int(counts[-1]) if num_classes > TOP else None,
        # Each picture is answered by one worker; the others add nothing.
        answers=replicas.sum(first).cpu().numpy() if answers else None,
    )
