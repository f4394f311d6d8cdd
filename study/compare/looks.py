"""How figures draw each method: its colour and mark are the same in every figure, as it says or the next free ones."""

from collections.abc import Iterable
from itertools import cycle

from study.compare.scores import base_method
from trainers.method import Look
from trainers.registry import METHODS, method_labels

# Colour and mark of methods that do not say how they are drawn, the further colours of Okabe and Ito.
FREE_LOOKS = (Look("#E69F00", "P"), Look("#56B4E9", "v"), Look("#B8A800", "*"))
VARIANT_MARKS = ("v", "p", "<", ">", "h", "P", "d", "8", "H")
OTHER_COLOUR = "#000000"


def styles_of(methods: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour and mark of each method of a figure: a variant has its method's colour and a mark of its own."""
    variants: dict[str | None, int] = {}
    looks, styles = _looks(), {}
    for method in sorted(set(methods)):
        base = base_method(method)
        if base == method:
            styles[method] = (looks[method].colour, looks[method].mark)
            continue
        place = variants[base] = variants.get(base, -1) + 1
        styles[method] = (looks[base].colour if base else OTHER_COLOUR, VARIANT_MARKS[place % len(VARIANT_MARKS)])
    return styles


def _looks() -> dict[str, Look]:
    """How each method is drawn, the same in every figure: as it says, or by the next of `FREE_LOOKS`."""
    said = {label: look for method in METHODS.all().values() for label, look in method.looks.items()}
    silent = [label for label in method_labels() if label not in said]
    return {**said, **dict(zip(silent, cycle(FREE_LOOKS), strict=False))}
