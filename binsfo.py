"""The command `binsfo`: what `python -m study` does, whatever files lie in the folder that it is started in.

`python -m study` takes a `study.py` of the working folder for the package, and so does any program where PYTHONPATH has
an empty entry. Ray, too, puts its driver's working folder first on the path of every worker. So this module, whose name
nobody else has, makes Python look for the project's packages beside this file before it looks anywhere else.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

PACKAGES = ("study", "search_spaces", "trainers")


class OwnPackages:
    """Finds the project's packages beside this file, and nothing else."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The package's place; None for every other module, so that Python goes on looking."""
        return PathFinder.find_spec(name, [str(Path(__file__).resolve().parent)]) if name in PACKAGES else None


def prefer_own_packages() -> None:
    """Let this process find the project's packages before files of the same name.

    Only what is imported afterwards is found so.
    """
    if OwnPackages not in sys.meta_path:
        sys.meta_path.insert(0, OwnPackages)


def begin_worker() -> None:
    """What each of Ray's workers runs first: it finds this code, loads it soon, and reaches those of other nodes."""
    prefer_own_packages()
    from trainers.collection import collect_seldom
    from trainers.network import name_interface

    collect_seldom()
    name_interface()


def main() -> int:
    """Run the command line; returns the exit status."""
    prefer_own_packages()
    from study.__main__ import program

    return program()
