"""The README is short, links lead somewhere, and what a page shows of another file is all of it."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted((REPOSITORY / "docs").glob("*.md"))


def hooks() -> ModuleType:
    """docs/hooks.py, which MkDocs loads by its path; it needs no MkDocs for what is asked of it here."""
    spec = importlib.util.spec_from_file_location("docs_hooks", REPOSITORY / "docs" / "hooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_has_at_most_150_lines() -> None:
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", [REPOSITORY / "README.md", *PAGES], ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:|#", target):
            assert (page.parent / target.partition("#")[0]).is_file(), target


def test_every_page_is_in_the_navigation() -> None:
    shown = re.findall(r"[\w-]+\.md", yaml.safe_dump(yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())["nav"]))
    assert sorted(shown) == [page.name for page in PAGES]


def test_what_a_page_includes_is_there_with_its_links_put_right() -> None:
    protocol = hooks().text_of("docs/protocol.md", (REPOSITORY / "docs" / "protocol.md").read_text())
    assert "# The protocol of a fair comparison" in protocol
    copied: list[str] = []
    start = hooks().text_of("docs/index.md", "{{ README.md }}", copied.append)
    assert "](protocol.md)" in start and "](tutorial.md)" in start and "docs/" not in re.findall(r"\]\((.*?)\)", start)
    assert "results/inertia/mnist/accuracy_vs_state.png" in copied


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_page_can_be_built(page: Path) -> None:
    """Whatever it links to is a page or a copied file; one that is neither would end MkDocs."""
    hooks().text_of(f"docs/{page.name}", page.read_text(), lambda path: (REPOSITORY / path).stat())


def test_a_link_to_a_markdown_file_that_no_page_shows_ends_the_build() -> None:
    with pytest.raises(SystemExit, match=r"docs/a.md links to examples/README.md, which has no page"):
        hooks().text_of("docs/a.md", "[examples](../examples/README.md)")


def test_every_key_of_a_study_file_has_its_row_in_the_reference() -> None:
    schema = json.loads((REPOSITORY / "study" / "study.schema.json").read_text())
    tables = "\n".join(hooks().schema_tables(schema))
    parts = [schema, schema["properties"]["fixed"], *schema["$defs"].values()]
    for key in {key for part in parts for key in part["properties"]}:
        assert f"\n| `{key}` | " in tables, key


def test_a_page_that_would_load_something_from_elsewhere_ends_the_build() -> None:
    class Page:
        class file:  # noqa: N801 (MkDocs calls it so)
            src_uri = "page.md"

    for loaded in ('<script src="https://x.test/a.js"></script>', '<link rel="stylesheet" href="//x.test/a.css">'):
        with pytest.raises(SystemExit, match="from elsewhere"):
            hooks().on_post_page(loaded, Page(), None)
    linked = '<a href="https://x.test">a link</a><script src="assets/a.js"></script>'
    assert hooks().on_post_page(linked, Page(), None) == linked
