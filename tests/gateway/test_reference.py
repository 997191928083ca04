"""The reference page says all that the contract says, leads nowhere that does not exist, and loads nothing."""

import asyncio
import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from atp.gateway.reference import ReferenceApi
from atp.gateway.reference_page import page, policy
from atp.specs import load
from atp.specs.loading import documents


class _Reader(HTMLParser):
    """What of a page can be pointed at, what it points at, and which elements it holds."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids, self.links, self.tags = [], [], set()
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.tags.add(tag)
        self.ids += [named["id"]] if "id" in named else []
        self.links += [named["href"]] if "href" in named else []


@pytest.fixture(scope="module")
def html() -> str:
    return page(load()).decode()


def test_every_operation_error_scope_and_type_has_its_place(html):
    """CON-01: what the server can be asked and can answer is on the page, under an address of its own."""
    ids = _Reader(html).ids
    assert len(ids) == len(set(ids))
    wanted = set(load().operations) | {f"error-{code}" for code in documents().errors}
    assert wanted <= set(ids)
    for operation in load().operations.values():
        entry = html.split(f'<article id="{operation.id}">')[1].split("</article>")[0]
        shown = [p.name for p in operation.parameters if p.location == "query"]
        missing = [name for name in [operation.path_template, *shown] if name not in entry]
        assert not missing, f"{operation.id}: {missing}"


def test_every_link_inside_the_page_leads_somewhere(html):
    """A link to a type, an error or an operation names one that has an entry."""
    found = _Reader(html)
    lost = {link for link in found.links if link.startswith("#") and link[1:] not in found.ids}
    assert not lost
    served = {operation.path_template for operation in load().operations.values()}
    assert {link for link in found.links if link.startswith("/")} <= served


def test_the_page_needs_nothing_but_itself(html):
    """No script, nothing from elsewhere; its style is bound by its hash, so that nothing injected can apply."""
    found = _Reader(html)
    assert not found.tags & {"script", "img", "iframe", "object", "form"}
    assert not [link for link in found.links if not link.startswith(("#", "/", "data:"))]
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy()
    assert "style=" not in html
    assert "default-src 'none'" in policy() and "script" not in policy()


async def _header(handler) -> str:
    return dict((await handler(None)).headers)["content-security-policy"]


async def _policies() -> tuple[str, str]:
    api = ReferenceApi(load())
    return await _header(api.reference), await _header(api.verifier_page)


def test_both_pages_are_sent_with_the_policy_that_lets_them_work():
    """The policy of other answers allows no style and no script: under it the verifier would be a dead page."""
    reference, verifier = asyncio.run(_policies())
    assert reference == policy()
    assert "script-src 'sha256-" in verifier and "frame-ancestors 'none'" in verifier
