"""The GPU examination: everything that only a GPU can show, in one command.

    python -m benchmarks.gpu_exam --out results/gpu --minutes 8
    python -m benchmarks.gpu_exam --out /tmp/exam --rehearse        (no GPU: small shapes, Triton's interpreter)

Needs torch, triton, numba, pyarrow, numpy, pillow and safetensors, and a checkout: nothing is installed, no Ray, no
MLflow, no Optuna. Each part runs in a process of its own, so that a part that crashes or hangs costs only itself; what
a part has found is on disk at once, and the examination stops in time with what it has. It writes `exam.json` (figures,
hardware, versions, commit) and `README.md`, the page that people read.
"""
