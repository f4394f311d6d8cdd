#!/usr/bin/env bash
# A study as a SLURM batch job: one Ray over the job's nodes, started by it, closed to others, ended with it.
#
#   python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt -e .      # once, on the shared disk
#   sbatch --nodes=2 --time=12:00:00 cluster/slurm.sh run my-study.yaml --output /scratch/me/studies/mine
#
# What follows the script's name is the study's command line. Submit from the top of the checkout, which every node must
# see under the same path, as it must the study's folder, the data and the weights. A job that its time limit ended has
# lost at most the epoch that each run was in: submit the same line again, and the study goes on.
#
#SBATCH --job-name=binsfo-study
#SBATCH --output=%x-%j.log
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
# Each node's GPUs; take this line out on a partition that has none.
#SBATCH --gpus-per-node=1
set -euo pipefail

[ $# -gt 0 ] || {
    echo "error: no command is given; submit for instance: sbatch cluster/slurm.sh run quickstart" >&2
    exit 2
}
cd "${SLURM_SUBMIT_DIR:?submit this script with sbatch}"
python=${PYTHON:-$PWD/.venv/bin/python}
[ -x "$python" ] || {
    echo "error: there is no $python; install the project as the top of this script says, or set PYTHON" >&2
    exit 2
}
PATH=$(dirname "$python"):$PATH

# The first node leads. Jobs that share a node differ by their number, and so do their ports.
head=$(scontrol show hostnames "${SLURM_JOB_NODELIST:?}" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 10000))

# Who else is on these nodes reaches Ray's ports, and gets no answer without the job's own token. It travels in the
# environment, never on a command line.
RAY_AUTH_TOKEN=$("$python" -c 'import secrets; print(secrets.token_hex(32))')
export PATH RAY_AUTH_TOKEN RAY_AUTH_MODE=token
# No servers of metrics, which would ask nobody for the token (as in cluster/environment.sh).
export RAY_enable_metrics_collection=0 AUTOSCALER_METRIC_PORT=-1 DASHBOARD_METRIC_PORT=-1
export RAY_USAGE_STATS_ENABLED=0 RAY_USAGE_STATS_REPORT_URL=http://127.0.0.1:9 MLFLOW_DISABLE_TELEMETRY=true

exec srun --kill-on-bad-exit=1 ray symmetric-run --address "$head:$port" --min-nodes "${SLURM_NNODES:-1}" \
    --num-cpus "${SLURM_CPUS_PER_TASK:-1}" --dashboard-host=127.0.0.1 --disable-usage-stats -- \
    env RAY_ADDRESS="$head:$port" "$python" -m study "$@"
