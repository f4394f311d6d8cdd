"""A folder of pictures as people have it: python examples/messy_folder.py holiday

Four classes in an unpacked archive, some pictures a folder deeper, names in capitals and with `.jfif`, a 16-bit scan, a
class of one picture, what systems and people leave beside pictures, and three that are none: a login page saved as
`.jpg`, a download that was cut short, a link to a disk that is not there. The pictures are noise, brighter where their
class says.

    python -m study prepare holiday --image-size 32 --skip-damaged
    python -m study run examples/messy_folder.yaml
"""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("Beach", "city", "forest", "night")
SIDE = 48


def picture(draws: np.random.Generator, label: int) -> np.ndarray:
    """uint8 (SIDE, SIDE, 3): noise, brighter in the corner of its class."""
    values = draws.integers(0, 100, (SIDE, SIDE, 3))
    row, column = divmod(label, 2)
    half = SIDE // 2
    values[row * half : (row + 1) * half, column * half : (column + 1) * half] += 120
    return values.astype(np.uint8)


def encoded(values: np.ndarray, kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, format=kind)
    return stream.getvalue()


def contents() -> dict[str, bytes]:
    """Every file by its path."""
    draws = np.random.default_rng(0)
    files: dict[str, bytes] = {}
    for label, name in enumerate(CLASSES[:3]):
        for number in range(40):
            folder = f"archive/{name}/2023" if number % 4 == 3 else f"archive/{name}"
            suffix = {0: "JPG", 1: "jfif"}.get(number % 8, "jpg")
            files[f"{folder}/IMG_{number:04}.{suffix}"] = encoded(picture(draws, label))
    files["archive/night/only.jpg"] = encoded(picture(draws, 3))
    files["archive/forest/scan.png"] = encoded(picture(draws, 2)[..., 0].astype(np.uint16) * 16, "PNG")
    files["archive/city/login.jpg"] = b"<!DOCTYPE html><title>Please log in</title>"
    files["archive/city/cut.jpg"] = encoded(picture(draws, 1))[:700]
    files["archive/forest/notes.txt"] = b"taken near the lake\n"
    files["archive/forest/Thumbs.db"] = b"\0" * 16
    files["__MACOSX/archive/._Beach"] = b"\0\5\x16\7"
    return files


def make(root: Path) -> None:
    """Write the folder."""
    for path, content in contents().items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    (root / "archive/Beach/older.jpg").symlink_to("/media/disk/older.jpg")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("python examples/messy_folder.py FOLDER")
    make(Path(sys.argv[1]))
