"""What a cell is offered by the commands of a study together: a later one may add, and takes nothing back."""

from collections.abc import Mapping
from typing import Any


def extended(before: Mapping[str, Any] | None, offer: Mapping[str, Any]) -> dict[str, Any]:
    """What a cell is offered by an earlier and a later command together."""
    if before is None:
        return dict(offer)
    more = {key: max(before[key], offer[key]) for key in ("trials", "k")}
    if repeats := max(before.get("repeats", 0), offer.get("repeats", 0)):
        more["repeats"] = repeats
    return {**offer, **more, "seeds": sorted({*before["seeds"], *offer["seeds"]})}
