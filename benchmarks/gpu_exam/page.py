"""The page of an examination: what was found, in tables, with what it was found on."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.gpu_exam.parts import PARTS


def page(exam: Mapping[str, Any]) -> str:
    """Markdown; the text of `README.md` beside `exam.json`."""
    return "\n".join(_lines(exam)) + "\n"


def _lines(exam: Mapping[str, Any]) -> Iterator[str]:
    yield "# GPU examination" + (" (a rehearsal on a CPU: no figure here is a GPU's)" if exam["rehearsal"] else "")
    yield ""
    yield f"GPU: {exam['gpu']}. CPU: {exam['cpu']}. {exam['versions']}."
    yield f"Commit {exam['git_commit']}; `{exam['command']}`."
    for name, part in exam["parts"].items():
        yield ""
        yield f"## {PARTS[name].title}"
        yield ""
        if part["status"] != "done":
            yield f"**{part['status']}**; what it had found by then:"
            yield ""
        yield from _findings(part["found"])
        if "error" in part:
            yield from ("", "```", *part["error"], "```")
        yield ""
        yield f"({part['seconds']:.0f} s)"


def _findings(found: Mapping[str, Any]) -> Iterator[str]:
    """Findings that are alike, mappings of the same names, as one table; others as a list."""
    rows = {name: value for name, value in found.items() if isinstance(value, Mapping)}
    columns: list[str] = list(dict.fromkeys(column for row in rows.values() for column in row))
    if rows:
        yield _row(["", *columns])
        yield _row(["---"] * (len(columns) + 1))
        yield from (_row([name, *(row.get(column, "") for column in columns)]) for name, row in rows.items())
    others = {name: value for name, value in found.items() if name not in rows}
    if rows and others:
        yield ""
    yield from (f"- {name}: {_text(value)}" for name, value in others.items())


def _row(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(_text(cell) for cell in cells) + " |"


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value).replace("|", "/")
