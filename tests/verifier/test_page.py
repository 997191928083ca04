"""The browser page, in a real Chromium: the same verdicts as verify.py, and no network."""

import base64
import functools
import hashlib
import html
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.third_party.conftest import Quiet, serving
from tests.verifier.builder import ORIGIN, Log, Signer, sample

PAGE = Path(__file__).parents[2] / "src/atp/static/verify.html"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM = os.environ.get("ATP_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="Not run: no Chromium found; install one, or name it in ATP_CHROMIUM"
)
WITNESS = Signer("witness.example/w", 4, b"w")


def test_script_and_style_are_the_ones_the_policy_allows() -> None:
    """INT-08: nothing else runs, nothing is fetched; a changed script needs its new hash in the page."""
    text = PAGE.read_text()
    policy = html.unescape(re.findall(r'Content-Security-Policy" content="([^"]+)"', text)[0])
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        body = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert len(body) == 1
        digest = base64.b64encode(hashlib.sha256(body[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not re.search(r"https?://|\bfetch\(|XMLHttpRequest|WebSocket|import\(", text)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    handler = functools.partial(Quiet, directory=str(PAGE.parent))
    with serving(handler) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{url}/verify.html")
        yield page
        browser.close()


def check(
    page: Page, log: Log, index: int = 17, *, policy: str = "", proof: str = "", event: object = None
) -> str:
    """Fill in, press the button, and read what the page says."""
    page.reload()
    page.get_by_label("Trust policy, as text").fill(policy or log.policy())
    page.get_by_label("Proof, as text").fill(proof or log.proof(index))
    body = event if isinstance(event, str) else json.dumps(event or log.records[index])
    page.get_by_label("Event, as text").fill(body)
    page.get_by_role("button", name="Check").click()
    page.locator("#result h2").wait_for()
    return page.locator("#result").inner_text()


@pytest.fixture(scope="module")
def log() -> Log:
    return sample(40)


@needs_browser
def test_a_record_is_verified_in_the_browser(page: Page, log: Log) -> None:
    """INT-08: log, index, time, and a status for each field that is not simply there."""
    said = check(page, log)
    assert said.startswith("Verified")
    for text in (ORIGIN, "document/d2, version 6", "2026-11-21T10:00:17.000000Z"):
        assert text in said
    rows = [row.inner_text().split("\t") for row in page.locator("#result tr").all()[1:]]
    assert {row[0]: row[1] for row in rows} == {
        "/actor/name": "verified", "/context/ip": "verified", "/actor/email": "masked",
        "/actor/id": "hashed", "/payload/token": "dropped",
    }  # fmt: skip


@needs_browser
def test_files_can_be_chosen_and_the_page_asks_the_network_for_nothing(
    page: Page, log: Log, tmp_path: Path
) -> None:
    """INT-08: the server could be gone; every request the page makes is caught and counted."""
    page.reload()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    contents = {
        "policy": log.policy(),
        "proof": log.proof(17),
        "event": json.dumps({"record": log.records[17]}, indent=2),
    }
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
        page.locator(f"#{name}-file").set_input_files(tmp_path / name)
        page.locator(f"#{name}-said", has_text="bytes").wait_for()
    page.context.set_offline(True)
    page.get_by_role("button", name="Check").click()
    page.locator("#result h2").wait_for()
    page.context.set_offline(False)
    assert page.locator("#result h2").inner_text() == "Verified"
    assert asked == []


@needs_browser
def test_every_index_of_small_trees_verifies(page: Page) -> None:
    """INT-02: full, ragged and single-leaf trees."""
    for size in (1, 2, 3, 7, 8, 13):
        log = sample(size)
        for index in {0, size // 2, size - 1}:
            assert check(page, log, index).startswith("Verified"), (size, index)


def changed(log: Log, change: Callable[[Any], None]) -> str:
    record = json.loads(json.dumps(log.records[17]))
    change(record)
    return json.dumps(record)


@needs_browser
@pytest.mark.parametrize(("change", "said"), [
    (lambda r: r["content"]["payload"].update(big=18446744073709551614), "content hash"),
    (lambda r: r["content"].update(outcome="failure"), "content hash"),
    (lambda r: r["header"].update(tenant="other"), "another root"),
    (lambda r: r["header"].update(position=16), "position 16"),
    (lambda r: r["disclosures"][0].__setitem__(2, "Mallory"), "/actor/name"),
    (lambda r: r["disclosures"].append(["A" * 22, "/payload/text", "x"]), "/payload/text"),
    (lambda r: r.pop("content"), "content is missing"),
    (lambda r: r.update(extra=1), "extra"),
])  # fmt: skip
def test_a_changed_record_is_refused_and_named(
    page: Page, log: Log, change: Callable[[Any], None], said: str
) -> None:
    """INT-08: big integers to the last digit; header, content and disclosures."""
    text = check(page, log, event=changed(log, change))
    assert not text.startswith("Verified")
    assert said in text


@needs_browser
@pytest.mark.parametrize(
    "event",
    ['{"a":1,"a":2}', "[" * 5000, '{"a":NaN}', '{"a":1e999}', '{"a":"\\ud800"}', "{} {}", "[1,]", "{1:2}"],
)
def test_bad_json_is_refused(page: Page, log: Log, event: str) -> None:
    assert check(page, log, event=event).startswith("Nothing verified")


@needs_browser
def test_a_withheld_value_is_said_to_be(page: Page, log: Log) -> None:
    """INT-09"""
    said = check(page, log, event=changed(log, lambda r: r.pop("disclosures")))
    assert said.startswith("Verified")
    assert said.count("withheld") == 2


@needs_browser
def test_a_flipped_byte_of_the_proof_is_refused(page: Page, log: Log) -> None:
    """INT-08: every seventeenth byte; the whole table is the Python verifier's."""
    proof = log.proof(17)
    for n in range(0, len(proof), 17):
        flipped = proof[:n] + chr(ord(proof[n]) ^ 1) + proof[n + 1 :]
        assert not check(page, log, proof=flipped).startswith("Verified"), n


@needs_browser
def test_witnesses_and_keys_count_as_the_policy_says(page: Page, log: Log) -> None:
    """INT-03: quorum reached or not, an unknown log, a post-quantum line that cannot be checked here."""
    policy = log.policy(f"witness W {WITNESS.vkey}", "group g all W", quorum="g")
    assert "quorum" in check(page, log, policy=policy)
    assert check(page, log, policy=policy, proof=log.proof(17, None, WITNESS)).startswith("Verified")
    assert "Not verified" in check(page, log, policy=Log(Signer(ORIGIN, 1, b"stranger")).policy())
    assert check(page, log, policy=log.policy() + "quorum none\n").startswith("Nothing verified")
    both = sample(20, Signer(ORIGIN, 1, b"log"), Signer(ORIGIN, 6, b"pq"))
    assert "not checked: this page has no ML-DSA-44" in check(page, both)
