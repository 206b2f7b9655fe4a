"""The documentation: links lead somewhere, and files, flag files and names that it speaks of exist."""

import functools
import importlib
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(ROOT.glob("docs/*.md"))
FOLDERS = "hrnet_tf|tools|tests|configs|docs|examples"

all_pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page):
    """A page's text without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


@functools.cache
def anchors(page):
    """What a page can be entered at: its headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@all_pages
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    broken = []
    for link in links:
        if link.startswith(("https://", "http://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@all_pages
def test_files_that_are_named_exist(page):
    text = page.read_text(encoding="utf-8")
    named = re.findall(rf"`((?:{FOLDERS})/[\w./-]*)`", text)
    started = re.findall(rf"\b(?:python|pytest)(?: -\w)*((?: (?:{FOLDERS})/[\w./-]+)+)", text)
    paths = named + " ".join(started).split()
    assert not [path for path in paths if not (ROOT / path).exists()]


@all_pages
def test_flag_files_that_are_named_exist(page):
    text = page.read_text(encoding="utf-8")
    names = re.findall(r"--flagfile=(?:configs/)?([\w.]+\.flags)", text) + re.findall(r"`(\w+\.flags)`", text)
    assert not [name for name in names if not (ROOT / "hrnet_tf" / "configs" / name).is_file()]


def test_the_public_interface_can_be_imported():
    """The table's names, and in its rows of modules what the modules are said to have."""
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Public interface")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `hrnet_tf\.(\w+)(\([^`]*\))?` \| (.*) \|$", table, flags=re.MULTILINE)
    assert rows
    package = importlib.import_module("hrnet_tf")
    for name, arguments, description in rows:
        thing = getattr(package, name)
        if not arguments and hasattr(thing, "__path__") | hasattr(thing, "__file__"):
            assert not [part for part in re.findall(r"`(\w+)`", description) if not hasattr(thing, part)]
