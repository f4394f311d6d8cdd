"""`python -m study run ...` on a cluster: `ray submit CLUSTER.yaml study/run.py -- quickstart`.

`ray submit` copies this file alone to the head node's home folder and runs it there; the packages beside it come from
the node's own installation. Everything after `--` goes to `python -m study run`.
"""

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def main(arguments: list[str]) -> int:
    """Run a study on the cluster that this machine belongs to, and return the process's exit status."""
    # On a head node, `auto` is the cluster that `ray up` started there; `ray job submit` has set the address already.
    os.environ.setdefault("RAY_ADDRESS", "auto")
    folder = Path(__file__).resolve().parent
    if (folder / "__init__.py").is_file():
        # Run from the checkout: Python put this very package's folder first, where its modules are no top-level names.
        sys.path[0] = str(folder.parent)
    from study.__main__ import program

    if arguments[:1] == ["--"]:
        arguments = arguments[1:]
    return program(["run", *arguments])


class _CallableModule(ModuleType):
    """Importing this file makes `study.run` this module, where `study/__init__.py` has a function: it runs one too."""

    def __call__(self, source: Any, **options: Any) -> Any:
        from study.api import run

        return run(source, **options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
else:
    sys.modules[__name__].__class__ = _CallableModule
