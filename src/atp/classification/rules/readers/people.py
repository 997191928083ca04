"""Readers of what leads to a person or a place.

Addresses of mail and machines, telephones, births, positions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from atp.classification.model import Confidence
from atp.classification.rules import value_tests

Found = Iterator[tuple[str, Confidence, str]]

_LOCAL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}")
_DOMAIN = re.compile(r"((?:[^\W_](?:[^\W_]|-){0,62}\.){1,10})([^\W\d_]{2,24}|xn--[a-z0-9-]{2,50})(?![\w-])")
# What looks like a domain's last label and is a file's or a unit's ending.
NOT_DOMAINS = frozenset(
    {"png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "mjs", "ts", "json", "yaml", "yml", "toml", "xml",
     "html", "txt", "log", "tgz", "gz", "zip", "tar", "whl", "exe", "dll", "sys", "bat", "cmd", "conf", "cfg",
     "service", "socket", "target", "timer", "slice", "mount", "scope", "jar", "class", "lock", "git", "internalversion"}
)  # fmt: skip


_PLAIN_EMAIL = re.compile(
    r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,63}@(?:[A-Za-z0-9][A-Za-z0-9-]{0,62}\.){1,10}(?:com|org|net|edu)"
)


def email(text: str) -> Found:
    """An address (RFC 5321, and RFC 6531 for other scripts); not a URL's credentials, not `name@2x.png`."""
    if _PLAIN_EMAIL.fullmatch(text):
        yield "email", "high", "email.value"
        return
    at = text.find("@")
    while at > 0:
        local = _LOCAL.match(text[max(0, at - 65) : at][::-1])
        domain = _DOMAIN.match(text, at + 1)
        if (
            local
            and domain
            and domain[2].lower() not in NOT_DOMAINS
            and _is_local_part(text, at, local[0][::-1])
        ):
            yield "email", "high", "email.value"
            return
        at = text.find("@", at + 1)


def _is_local_part(text: str, at: int, local: str) -> bool:
    start = at - len(local)
    in_url = "//" in local or text[max(0, start - 2) : start] == "//" or _inside_authority(text, start)
    return len(local) <= 64 and not in_url and local[-1] not in ".$" and any(map(str.isalnum, local))


def _inside_authority(text: str, start: int) -> bool:
    """Whether a suspect follows `scheme://user:`, so that it is a password and a host."""
    return text[start - 1 : start] == ":" and "://" in text[max(0, start - 80) : start]


_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"(?<![\w.+-])(?:{_OCTET}\.){{3}}{_OCTET}(?![\w-]|\.\w)")
_BEFORE_VERSION = re.compile(
    r"(?:\bv|\bver|version|build|release|\brev|firmware)[\s:=\"'(]{0,4}\Z", re.IGNORECASE
)


def ipv4(text: str) -> Found:
    """A dotted quad that is an address: not a version, an OID or a product token (`Chrome/120.0.0.0`)."""
    for found in _IPV4.finditer(text):
        start, end = found.span()
        if text[start - 1 : start] == "/" and text[max(0, start - 2) : start] not in ("//", "/"):
            continue
        if _BEFORE_VERSION.search(text[max(0, start - 14) : start]):
            continue
        yield from _address(value_tests.ipv4_kind(found[0]), "ipv4", whole=end - start == len(text))


def _address(kind: str, rule: str, *, whole: bool) -> Found:
    if kind == "public":
        yield "ip_address", "high" if whole else "medium", f"{rule}.value"
    elif kind == "private":
        yield "ip_address", "medium" if whole else "low", f"{rule}.private.value"


_IPV6 = re.compile(
    r"(?<![\w:.])(?=[0-9A-Fa-f]{0,4}:)[0-9A-Fa-f:]{3,39}(?:(?<=:)[0-9.]{7,15})?(?:%\w{1,16})?(?![\w:]|\.[0-9])"
)


def ipv6(text: str) -> Found:
    """RFC 4291 text forms, with an embedded quad or a zone."""
    for found in _IPV6.finditer(text):
        kind = value_tests.ip_kind(found[0])
        yield from _address(kind, "ipv6", whole=found.end() - found.start() == len(text))


_MAC = re.compile(r"(?<![\w:-])([0-9A-Fa-f]{2})([:-])(?:[0-9A-Fa-f]{2}\2){4}[0-9A-Fa-f]{2}(?![\w:-])")


def mac(text: str) -> Found:
    """EUI-48 in six pairs; longer runs are fingerprints, all equal pairs are nobody's."""
    for found in _MAC.finditer(text):
        if len(set(re.split("[:-]", found[0].lower()))) > 1:
            yield "mac_address", "high", "mac.value"


_PHONE_PLUS = re.compile(r"(?<![\w+])\+[1-9](?:[ .()-]{0,2}[0-9]){6,14}(?![\w+]|[.-][0-9])")


def phone_international(text: str) -> Found:
    """E.164 with separators: seven to fifteen digits after the plus."""
    if _PHONE_PLUS.search(text):
        yield "phone", "high", "phone.international.value"


_PHONE_NATIONAL = re.compile(
    r"(?<![\w.+-])(?:(\()[2-9][0-9]{2}\) ?|[2-9][0-9]{2}([-. ]))[2-9][0-9]{2}[-. ][0-9]{4}(?![\w-]|\.[0-9])"
)


def phone_national(text: str) -> Found:
    """North American forms; without the bracket they could be anything with dashes."""
    for found in _PHONE_NATIONAL.finditer(text):
        whole = found.end() - found.start() == len(text)
        yield "phone", "medium" if found[1] or (whole and found[2] == "-") else "low", "phone.national.value"


_PHONE_WORDED = re.compile(
    r"\b(?:phone|mobile|tel|telephone|cell|fax|call)\b[^0-9+\n]{1,12}(\+?[0-9(](?:[ .()/-]{0,2}[0-9]){6,14})(?![\w:]|[.-][0-9])",
    re.IGNORECASE,
)


def phone_worded(text: str) -> Found:
    """Seven to fifteen digits after a word for telephone."""
    if _PHONE_WORDED.search(text):
        yield "phone", "medium", "phone.worded"


_BIRTH_WORDED = re.compile(
    r"\b(?:dob|d\.o\.b\.|date of birth|birth ?date|birthday|born(?: on)?)\b[^0-9\w]{0,4}"
    r"([0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}|[0-9]{1,2}[-/. ][0-9]{1,2}[-/. ][0-9]{4})(?![\w-])",
    re.IGNORECASE,
)


def birth_date_worded(text: str) -> Found:
    """A date right after a word for birth."""
    for found in _BIRTH_WORDED.finditer(text):
        if value_tests.birth_date(found[1]):
            yield "date_of_birth", "high", "dob.worded"


_GEO = re.compile(
    r"(?<![\w.,-])(-?[0-9]{1,2}\.[0-9]{4,15})°?[,;] ?(-?[0-9]{1,3}\.[0-9]{4,15})(?!\w|[.,] ?[0-9-])"
)


def geo_pair(text: str) -> Found:
    """A latitude and a longitude with at least four decimals (eleven metres) each."""
    for found in _GEO.finditer(text):
        if abs(float(found[1])) <= 90 and abs(float(found[2])) <= 180:
            yield "geo_location", "medium", "geo.value"
