"""Where prepared data lie: which folders are looked in, which is written to, and how each data set's own is called.

By default that is `data_root/prepared`; where the data root is read-only, a folder in the user's cache takes its place.
A prepared folder is called `<name>-<size>px`, so that a data set can lie prepared at several sizes side by side.
"""

import hashlib
import os
from pathlib import Path

from trainers.data.locate import DatasetChoice
from trainers.data.store import read_manifest
from trainers.errors import UserError
from trainers.machine import home

# Characters of one's own data set's name in that of its folder: of 4 bytes each they leave room for what follows in the
# 255 bytes that a name may have.
_LONGEST_NAME = 48


def user_cache() -> Path | None:
    """The user's cache folder by the XDG convention; None for a user without a home folder."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given)
    folder = home()
    return None if folder is None else folder / ".cache"


def is_writable(folder: Path) -> bool:
    """Whether a folder can be written to, or created; a folder without any write bit is read-only even for root."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK) and bool(folder.stat().st_mode & 0o222)


def prepared_roots(data_root: Path, prepared_root: Path | None) -> list[Path]:
    """The folders in which prepared data may lie, the preferred one first.

    An explicit `prepared_root` is the only one. Otherwise `data_root/prepared`, and beside it a folder in the user's
    cache, for data roots that are read-only.
    """
    if prepared_root is not None:
        return [prepared_root.expanduser().absolute()]
    data_root = data_root.expanduser().absolute()
    own = hashlib.sha256(os.fsencode(data_root.resolve())).hexdigest()[:12]
    cache = user_cache()
    return [data_root / "prepared", *([cache / "binsfo" / "prepared" / own] if cache else [])]


def root_for_writing(data_root: Path, prepared_root: Path | None) -> Path:
    """The first of `prepared_roots` that can be written to.

    Raises:
        UserError: None can.
    """
    roots = prepared_roots(data_root, prepared_root)
    for root in roots:
        if is_writable(root):
            return root
    raise UserError(
        f"prepared data cannot be written to {' or '.join(map(str, roots))} (read-only); "
        "give a writable folder with --prepared-root"
    )


def folder_name(choice: DatasetChoice, image_size: int) -> str:
    """Name of the prepared folder of this data set at this size."""
    return f"{_prefix(choice)}-{image_size}px"


def _prefix(choice: DatasetChoice) -> str:
    """Folder name without the size. One's own data carry a hash of their path: two folders may share a name."""
    if choice.path is None:
        return choice.name
    return f"{choice.name[:_LONGEST_NAME]}-{hashlib.sha256(os.fsencode(choice.path)).hexdigest()[:8]}"


def find_prepared(
    choice: DatasetChoice, data_root: Path, prepared_root: Path | None, image_size: int | None
) -> Path | None:
    """The folder in which this data set lies prepared at this size, or None.

    Without a size, a catalogued data set means the catalogue's, one's own the native size of its pictures.

    Raises:
        UserError: A manifest is damaged.
    """
    if image_size is None and choice.info is not None:
        image_size = choice.info.image_size
    for root in prepared_roots(data_root, prepared_root):
        if image_size is not None:
            folder = root / folder_name(choice, image_size)
            if read_manifest(folder) is not None:
                return folder
        elif root.is_dir():
            for folder in sorted(root.glob(f"{_glob_escaped(_prefix(choice))}-*px")):
                manifest = read_manifest(folder)
                if manifest is not None and manifest.native_size == manifest.image_size:
                    return folder
    return None


def _glob_escaped(text: str) -> str:
    """The text as a literal within a glob pattern: a folder may be called `images[v2]`."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in text)
