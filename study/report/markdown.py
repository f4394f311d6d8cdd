"""A report as Markdown (GitHub's kind): the same text and tables; figures as the files beside it."""

import re
from collections.abc import Iterator

from study.report.document import (
    FIGURES,
    Block,
    Code,
    Document,
    Figures,
    Fold,
    Listing,
    Paragraph,
    Pictures,
    Section,
    Table,
    Text,
)

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!&$])")


def render_markdown(document: Document) -> str:
    """The whole report."""
    lines = [f"# {escaped(document.title)}", ""]
    for banner in document.banners:
        lines += [f"> **{escaped(banner)}**", ""]
    for section in document.sections:
        lines += _section(section, 2)
    return "\n".join([*lines, "---", "", escaped(document.made)]) + "\n"


def escaped(words: str) -> str:
    """Text that Markdown shows as it is, in one line.

    >>> escaped("a_b <b>|*")
    'a\\\\_b \\\\<b\\\\>\\\\|\\\\*'
    """
    return _SPECIAL.sub(r"\\\1", " ".join(words.split()) if words.strip() else words)


def _section(section: Section, level: int) -> Iterator[str]:
    if section.anchor:
        yield f'<a id="{section.anchor}"></a>'
        yield ""
    yield f"{'#' * min(level, 6)} {escaped(section.title)}"
    yield ""
    for block in section.blocks:
        yield from _block(block)
    for inner in section.sections:
        yield from _section(inner, level + 1)


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Paragraph):
        yield ("> " if block.kind in ("lead", "warning") else "") + _inline(block.text)
    elif isinstance(block, Listing):
        yield from (f"- {_inline(item)}" for item in block.items)
    elif isinstance(block, Code):
        fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`+", block.text))])
        yield from (fence, block.text.rstrip("\n"), fence)
    elif isinstance(block, Table):
        yield from _table(block)
    elif isinstance(block, Figures):
        for drawing in block.drawings:
            shown = f"![{escaped(f'{drawing.title} {drawing.description}')}]({FIGURES}/{drawing.name}.png)"
            yield from (f"**{escaped(drawing.title)}** {escaped(drawing.caption)}".rstrip(), "", shown, "")
    elif isinstance(block, Pictures):
        yield from (f"- {escaped(one.description)}" for one in block.pictures)
    elif isinstance(block, Fold):
        yield f"**{escaped(block.title)}**"
        yield ""
        for inner in block.blocks:
            yield from _block(inner)
    yield ""


def _table(block: Table) -> Iterator[str]:
    yield f"**{escaped(block.caption)}**"
    yield ""
    yield "| " + " | ".join(escaped(name) for name in block.header) + " |"
    yield "| " + " | ".join("---:" if block.is_numeric(at) else "---" for at in range(len(block.header))) + " |"
    for row in block.rows:
        mark = f'<a id="{row.anchor}"></a>' if row.anchor else ""
        yield "| " + mark + " | ".join(_inline(cell) for cell in row.cells) + " |"


def _inline(words: Text) -> str:
    parts = []
    for span in words:
        stars = "**" if span.style == "strong" else ""
        shown = _code(span.text) if span.style == "code" else _padded(span.text, stars)
        parts.append(f"[{shown}]({span.href})" if span.href and not re.search(r"[\s()<>]", span.href) else shown)
    return "".join(parts)


def _padded(words: str, stars: str) -> str:
    """Escaped, between stars, with the blanks at both ends that join it to its neighbours outside of these."""
    left, right = " " * words[:1].isspace(), " " * (len(words) > 1 and words[-1:].isspace())
    return f"{left}{stars}{escaped(words.strip())}{stars}{right}"


def _code(words: str) -> str:
    """Code within a line, also within a table's cell, where a bar would end it."""
    words = " ".join(words.split())
    fence = "`" * max([1, *(len(run) + 1 for run in re.findall(r"`+", words))])
    blank = " " if words.startswith("`") or words.endswith("`") else ""
    return f"{fence}{blank}{words}{blank}{fence}".replace("|", r"\|")
