"""Documentation that is wrong is worse than none: links lead somewhere, names exist, nothing points at a desk."""

import re

from tests.tidy.source import ROOT, committed

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)

# Real data keeps its own paths and names; it is evidence, not ours to edit.
DATA = (".jsonl", ".zip", ".gz", ".lock", ".mmdb", ".evtx")
LICENCES = ("LICENSE", "NOTICE")


def _anchor(heading: str) -> str:
    """The fragment under which forges serve a heading."""
    text = re.sub(r"[`*_]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def test_every_link_leads_somewhere() -> None:
    """A relative link names a file of this repository, and its fragment one of the file's headings."""
    bad = []
    for page in (path for path in committed() if path.suffix == ".md"):
        for target in LINK.findall(FENCE.sub("", page.read_text())):
            if "://" in target or target.startswith("mailto:"):
                continue
            name, _, fragment = target.partition("#")
            place = (page.parent / name).resolve() if name else page
            if not place.exists():
                bad.append(f"{page.relative_to(ROOT)}: {target}")
            elif fragment and place.suffix == ".md":
                headings = re.findall(r"^#+ (.*)$", FENCE.sub("", place.read_text()), re.MULTILINE)
                if fragment not in {_anchor(heading) for heading in headings}:
                    bad.append(f"{page.relative_to(ROOT)}: {target}: no such heading")
    assert not bad, "\n".join(bad)


def test_every_page_can_be_reached_from_the_table_of_contents() -> None:
    """A page that cannot be reached from docs/README.md, by way of the tables of its folders, is read by nobody."""
    docs = ROOT / "docs"
    reached, ahead = set(), [docs / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached or not page.is_file():
            continue
        reached.add(page)
        if page.name == "README.md":
            links = (link.partition("#")[0] for link in LINK.findall(page.read_text()) if "://" not in link)
            ahead += [
                target for link in links if (target := (page.parent / link).resolve()).is_relative_to(docs)
            ]
    pages = {path for path in committed() if path.suffix == ".md" and path.is_relative_to(docs)}
    lost = sorted(str(path.relative_to(ROOT)) for path in pages - reached)
    assert not lost, "\n".join(lost)


def test_nothing_committed_names_a_desk_or_a_registry() -> None:
    """A path of someone's machine, or the address packages came from, is true on one desk only.

    Dependencies are named by version and hash; where they are fetched from is the affair of who installs them.
    """
    patterns = [
        r"(?<![\w.])/(?:work|root|home/[a-z]+|Users/[A-Za-z]+|mnt|private/var)/[\w.]",
        r"(?<![\w.])/tmp/[\w.]",
        r"--(?:extra-)?index-url|--find-links|--trusted-host",
        r"(?:registry\.npmjs|files\.pythonhosted|proxy\.golang)\.org|pypi\.org/simple|artifactory|goproxy=http",
    ]
    place = re.compile("|".join(patterns), re.IGNORECASE)
    bad = []
    for path in committed():
        if (
            path.name.startswith(LICENCES)
            or (path.suffix in DATA and path.suffix != ".lock")
            or path.parent == ROOT / "tests/tidy"
        ):
            continue
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        bad += [
            f"{path.relative_to(ROOT)}:{n} {line.strip()[:90]}"
            for n, line in enumerate(lines, 1)
            if place.search(line)
        ]
    assert not bad, "\n".join(bad)
