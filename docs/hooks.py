"""What MkDocs does with this project's pages beyond Markdown: one source for every text, and nothing from elsewhere.

- A line `{{ FILE }}`, with a path from the top of the checkout, is replaced by that file: Markdown by its text, with
  its relative links put right; a JSON schema by tables; a picture by itself; anything else by its lines, as code.
- A relative link that leaves `docs/` leads to the page that shows its target, or to a copy of the file in the site.
- A page that would load a script, a style, a font or a picture from another machine ends the build.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = {
    "README.md": "index.md",
    "study/PROTOCOL.md": "protocol.md",
    "study/study.schema.json": "study-file.md",
    "results/inertia/README.md": "counters.md",
    "results/six-datasets/README.md": "six-datasets.md",
}
"""Files of the checkout that a page shows."""

_INCLUDED = re.compile(r"^\{\{ (\S+) \}\}$", re.MULTILINE)
_LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
_CODE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_LOADED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?(?:https?:)?//[^>]*>"
    r"|<link\b[^>]*\brel=[\"']?(?:stylesheet|preload|icon|preconnect)\b[^>]*\bhref=[\"']?(?:https?:)?//[^>]*>"
)


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """The text of a page, what it includes put in, its links put right (called by MkDocs)."""
    return text_of(f"docs/{page.file.src_uri}", markdown, lambda path: _add_copy(path, config, files))


def on_post_page(output: str, page: Any, config: Any) -> str:
    """A page as it will be written (called by MkDocs)."""
    found = _LOADED.search(output)
    if found is not None:
        raise SystemExit(f"error: {page.file.src_uri} would load something from elsewhere: {found.group()}")
    return output


def text_of(place: str, markdown: str, copied: Any = lambda path: None) -> str:
    """Markdown of the file at `place` as a page shows it; `copied` hears of each file that it links to a copy of."""

    def included(match: re.Match[str]) -> str:
        name = match.group(1)
        text = (REPOSITORY / name).read_text(encoding="utf-8")
        if name.endswith(".md"):
            return relinked(name, text, copied)
        if name.endswith(".schema.json"):
            return "\n".join(schema_tables(json.loads(text)))
        return f"```{Path(name).suffix[1:]}\n{text}```"

    return _INCLUDED.sub(included, relinked(place, markdown, copied))


def relinked(place: str, markdown: str, copied: Any = lambda path: None) -> str:
    """Relative links of the file at `place`, as a page of `docs/` needs them; code is left as it is."""

    def link(match: re.Match[str]) -> str:
        before, target, after = match.groups()
        if re.match(r"[a-z]+:|/", target):
            return match.group()
        path = os.path.normpath(os.path.join(os.path.dirname(place), target))
        if path in PAGES:
            return f"{before}{PAGES[path]}{after}"
        if path.startswith("docs/"):
            return f"{before}{path.removeprefix('docs/')}{after}"
        if (REPOSITORY / path).is_dir():  # nothing to show of a folder
            return before.strip("![(").rstrip("]")
        if path.endswith(".md"):  # a copy of it would be a page, of which MkDocs hears too late
            raise SystemExit(f"error: {place} links to {path}, which has no page; give it one in PAGES")
        copied(path)
        return f"{before}files/{path}{after}"

    parts = _CODE.split(markdown)  # text and code by turns
    return "".join(part if i % 2 else _LINK.sub(link, part) for i, part in enumerate(parts))


def _add_copy(path: str, config: Any, files: Any) -> None:
    from mkdocs.structure.files import File

    where = f"files/{path}"
    if files.get_file_from_path(where) is None:
        files.append(File.generated(config, where, abs_src_path=str(REPOSITORY / path)))


def schema_tables(schema: dict[str, Any]) -> Iterator[str]:
    """The tables of a study file's schema: one for the file, one for each part of it, one for the settings of runs."""
    definitions = schema["$defs"]
    properties = {
        key: {**definitions.get(about.get("$ref", "").rpartition("/")[2], {}), **about}
        for key, about in schema["properties"].items()
    }
    yield from _table("The file", {**schema, "properties": properties})
    for key, name in (
        ("cells", "Block"),
        ("pretrain", "Pretraining"),
        ("search", "SearchConfig"),
        ("search: asha", "AshaConfig"),
        ("confirm", "ConfirmConfig"),
        ("resources", "ResourcesConfig"),
        ("pretrain", "Pretraining"),
    ):
        yield from _table(f"`{key}`", definitions[name])
    yield from _table("`fixed`", schema["properties"]["fixed"])


def _table(title: str, part: dict[str, Any]) -> Iterator[str]:
    yield f"\n## {title}\n"
    yield f"{part['description']}\n"
    yield "| key | what | type | default |"
    yield "| --- | --- | --- | --- |"
    required = part.get("required", [])
    for key, about in part["properties"].items():
        default = "required" if key in required else _default(about)
        what = " ".join(about["description"].split()).replace("|", "\\|")
        yield f"| `{key}` | {what} | {_type(about)} | {default} |"


def _default(about: dict[str, Any]) -> str:
    if "default" not in about:
        return "–"
    return "none" if about["default"] is None else f"`{json.dumps(about['default'])}`"


def _type(about: dict[str, Any]) -> str:
    """What may stand there, in words."""
    if "anyOf" in about:
        return " or ".join(dict.fromkeys(_type(one) for one in about["anyOf"] if one.get("type") != "null"))
    if "enum" in about:
        return ", ".join(f"`{value}`" for value in about["enum"])
    if "$ref" in about:
        return "the keys below"
    kind = about["type"]
    if isinstance(kind, list):
        return " or ".join(_WORDS[one] for one in kind)
    if kind == "array":
        within = [about["items"]] if "items" in about else about["prefixItems"]
        return f"a list of: {', '.join(map(_type, within))}"
    if kind == "object" and "additionalProperties" in about and isinstance(about["additionalProperties"], dict):
        keys = about.get("propertyNames", {}).get("enum")
        return f"by {', '.join(f'`{key}`' for key in keys)}" if keys else "by name"
    limits = [
        f"{sign} {about[name]:g}"
        for name, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if name in about and about[name] != 2**63 - 1
    ]
    return ", ".join([_WORDS[kind], *limits])


_WORDS = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "object": "the keys below",
}
