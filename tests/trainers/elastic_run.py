"""A run of two workers on a Ray of two nodes, of which one is taken away; started by `test_notice.py`.

    python elastic_run.py FOLDER DATA_ROOT

Prints what the run says of itself, and at last `progress ` and the progress that its checkpoint holds.
"""

import os
import sys
from pathlib import Path

from study.define.environment import ENVIRONMENT

os.environ.update(ENVIRONMENT)

import ray
from ray.cluster_utils import Cluster
from safetensors import safe_open

from trainers.attempt import Attempt
from trainers.checkpoint import last_checkpoint
from trainers.config import TrialConfig
from trainers.host import run_ray
from trainers.progress import Metrics


def main(folder: Path, data_root: str) -> int:
    """Train, take the second node away after the second epoch, and say how it went on."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    config = TrialConfig(
        dataset="Digits",
        model="MLP",
        algorithm="binary",
        hid_dim=64,
        depth=3,
        batch_size=16,
        epochs=6,
        image_size=8,
        device="cpu",
        data_root=data_root,
        workers=2,
        least_workers=1,
    )

    def epoch(metrics: Metrics) -> None:
        fewer = metrics.get("fewest_workers")
        print(f"epoch {metrics['epoch']} by {fewer or 'all'}", flush=True)
        if metrics.get("note"):
            print(f"note: {metrics['note']}", flush=True)
        if metrics["epoch"] == 2:
            cluster.remove_node(second, allow_graceful=False)

    final = run_ray(config, folder / "run", epoch, Attempt(folder / ".stop"))
    with safe_open(last_checkpoint(folder / "run"), framework="pt") as file:
        progress = (file.metadata() or {})["progress"]
    print(f"{final['status']}\nprogress {progress}", flush=True)
    ray.shutdown()
    cluster.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
