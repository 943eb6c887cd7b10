"""The documentation holds together: links lead somewhere, on a code host and on the site alike; every model and every
public name has its page; what docs/architecture.md names is there.
"""

from __future__ import annotations

import ast
import importlib
import re

import pytest

import gankit
from gankit import models
from tests.pages import HOUSE, PAGES

LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"")
CODE = re.compile(r"^```.*?^```$|^ {4,}.*$|`[^`\n]*`", re.M | re.S)


def anchor(heading: str) -> str:
    """The anchor of a heading, where a code host and the site agree; "" where they would not."""
    plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    host = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
    site = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip())
    return host if host == site else ""


def anchors(page) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    names = [anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, re.M)]
    return {name for name in names if names.count(name) == 1}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_links_lead_somewhere(page):
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    for link in [a or b for a, b in LINK.findall(text)]:
        path, _, part = link.partition("#")
        if re.match(r"(https?|mailto):", link):
            continue
        assert not path.startswith("/"), f"{link}: write paths relative to the page"
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(HOUSE) and target.is_file(), f"{link}: there is no such file"
        if page.is_relative_to(HOUSE / "docs"):
            assert target.is_relative_to(HOUSE / "docs"), f"{link}: the site has only what is in docs/"
        if part:
            assert part in anchors(target), f"{link}: {target.name} has no heading of this anchor"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_a_page_begins_with_its_one_title(page):
    text = re.sub(r"^```.*?^```$|\A---\n.*?^---$|^    .*$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    assert len(re.findall(r"^# ", text, re.M)) == (0 if ".github" in page.parts else 1)


def test_every_picture_is_shown():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert not [path.name for path in (HOUSE / "docs" / "images").iterdir() if f"images/{path.name}" not in text]


def test_every_model_has_its_page():
    assert {path.stem for path in (HOUSE / "docs" / "models").glob("*.md")} == {"README", *models.names()}


def test_every_name_in_the_api_pages_is_there():
    for page in (HOUSE / "docs" / "api").glob("*.md"):
        for path in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.M):
            module, _, name = path.rpartition(".")
            try:
                importlib.import_module(path)
            except ModuleNotFoundError:
                assert hasattr(importlib.import_module(module), name), path


def test_every_function_that_the_architecture_names_is_there():
    text = (HOUSE / "docs" / "architecture.md").read_text(encoding="utf-8")
    steps = re.findall(r"^\| \d+ \| `([^`]+)` (`[^|]+`) \|", text, re.M)
    assert len(steps) > 35
    for file, functions in steps:
        source = (HOUSE / "gankit" / file).read_text(encoding="utf-8")
        for function in re.findall(r"`(\w+)`", functions):
            assert re.search(rf"^ *def {function}\(", source, re.M), f"{file} has no function {function}"
    for name in re.findall(r"`(\w+/[\w/.]*|\w+\.py)`", text):
        assert (HOUSE / "gankit" / name).exists() or (HOUSE / name).exists(), f"there is no {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_files_of_the_repository_that_a_page_names_are_there(page):
    """All but those that examples make."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for name in re.findall(r"\b((?:tests|benchmarks|scripts|examples)/\w+\*?\.py)", text):
        assert list(HOUSE.glob(name)), f"there is no {name}"


def test_the_citation_has_the_version():
    assert f"\nversion: {gankit.__version__}\n" in (HOUSE / "CITATION.cff").read_text(encoding="utf-8")


def test_every_public_name_is_in_the_api_pages():
    tree = ast.parse((HOUSE / "gankit" / "__init__.py").read_text(encoding="utf-8"))
    names = next(
        ast.literal_eval(n.value)
        for n in tree.body
        if getattr(n, "targets", [None])[0] and n.targets[0].id == "__all__"
    )
    text = "".join(page.read_text(encoding="utf-8") for page in (HOUSE / "docs" / "api").glob("*.md"))
    assert not [name for name in names if not re.search(rf"\b{name}\b", text)]
