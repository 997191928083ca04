"""Tests of a whole value that stands under a telling field name: does it look the part?

They are lenient where the name already says it all (a password may be anything) and strict where the name is
used for other things too. Each takes any JSON scalar and runs in time linear in a bounded prefix.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from atp.classification.rules import check_digits

# Values that stand for "nothing here" in logs; no finding is made of them.
PLACEHOLDERS = frozenset(
    {"", "-", "--", "n/a", "na", "null", "none", "nil", "unknown", "undefined", "true", "false", "<never>",
     "redacted", "[redacted]", "***", "****", "*****", "******", "********", "xxxx", "yes", "no", "0", "1"}
)  # fmt: skip
# A birth date lies between these ages, in years.
AGE_MAX_YEARS = 130
NAME_LENGTH_MAX = 200
ADDRESS_LENGTH_MAX = 500


def encodable(text: str) -> bool:
    """Whether a string is UTF-8 text: a lone surrogate is not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def safely(valid: Callable[[str], bool], text: str) -> bool:
    """A validator's verdict, where letters in the place of digits simply fail."""
    try:
        return valid(text)
    except (ValueError, IndexError):
        return False


def scalar(value: Any) -> str:
    """A string or number as text; nothing for what cannot be personal (booleans, null, containers)."""
    if type(value) is str:
        return value
    return str(value) if type(value) in (int, float) else ""


def filled(value: Any) -> str:
    """The stripped text, or nothing for a placeholder."""
    text = scalar(value).strip()
    return "" if len(text) < 12 and text.lower() in PLACEHOLDERS else text


_SEPARATORS = re.compile(r"[\s./-]+")


def compact(value: Any) -> str:
    """Upper-case text without the separators people write into numbers."""
    return _SEPARATORS.sub("", scalar(value)[:64]).upper()


_EMAIL = re.compile(r"[^@\s,;<>()\[\]\\\"]{1,64}@(?:[^\W_]|[.-]){1,253}\.[^\W\d_]{2,24}\.?")
_PHONE = re.compile(r"\+?[0-9(][0-9 ()./-]{5,22}[0-9](?:\s?(?:x|ext\.?)\s?[0-9]{1,6})?")
_MAC = re.compile(
    r"(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}|[0-9A-Fa-f]{12}|(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}"
)
_IPV4 = re.compile(
    r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)", re.ASCII
)


def email(value: Any) -> bool:
    """An address, of any script (RFC 6531)."""
    return type(value) is str and len(value) < 330 and _EMAIL.fullmatch(value.strip()) is not None


def phone(value: Any) -> bool:
    """Seven to fifteen digits as people write them (E.164 allows fifteen)."""
    text = scalar(value).strip()
    return len(text) < 40 and _PHONE.fullmatch(text) is not None and 7 <= sum(map(str.isdigit, text)) <= 20


def ip_kind(text: str) -> str:
    """One of public, private (also link-local and shared), special (loopback, multicast, none at all) or nothing."""
    if _IPV4.fullmatch(text):
        return ipv4_kind(text)
    if ":" not in text or len(text) > 64:
        return ""
    try:
        address = ip_address(text.split("%", 1)[0])
    except ValueError:
        return ""
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        return ipv4_kind(str(mapped))
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        return "special"
    return "public" if address.is_global else "private"


def ipv4_kind(text: str) -> str:
    """The same for dotted quads, by the first two octets (IANA special-purpose registry)."""
    first, second, _ = text.split(".", 2)
    a, b = int(first), int(second)
    if a in (0, 127) or a >= 224:
        return "special"
    private = a == 10 or (a == 172 and 16 <= b <= 31) or (a == 192 and b == 168)
    return "private" if private or (a == 169 and b == 254) or (a == 100 and 64 <= b <= 127) else "public"


def public_ip(value: Any) -> bool:
    """An address that names somebody on the internet."""
    return type(value) is str and ip_kind(value) == "public"


def private_ip(value: Any) -> bool:
    """An address inside somebody's network."""
    return type(value) is str and ip_kind(value) == "private"


def mac(value: Any) -> bool:
    """EUI-48 with any of the usual separators."""
    return type(value) is str and _MAC.fullmatch(value) is not None


def person_name(value: Any) -> bool:
    """Letters of any script; no digits, slashes or markup."""
    text = filled(value)
    return (
        type(value) is str
        and 0 < len(text) <= NAME_LENGTH_MAX
        and any(map(str.isalpha, text))
        and not any(c in '0123456789/\\<>{}[]=@_:;%$#|"' for c in text)
    )


def full_name(value: Any) -> bool:
    """A display name that reads as given name and family name."""
    parts = value.split() if type(value) is str and len(value) <= NAME_LENGTH_MAX else []
    return 2 <= len(parts) <= 5 and person_name(value) and all(part[0].isupper() for part in parts)


def username(value: Any) -> bool:
    """An account of a person, as far as a string can tell: no machine account, no system principal."""
    text = filled(value)
    return type(value) is str and 1 < len(text) <= 64 and not text.endswith("$") and not text.isupper()


def address(value: Any) -> bool:
    """Some letters under a name that means a street address."""
    text = filled(value)
    return type(value) is str and 3 <= len(text) <= ADDRESS_LENGTH_MAX and any(map(str.isalpha, text))


_DATES = (
    re.compile(r"(?P<y>\d{4})[-/.]?(?P<m>\d{1,2})[-/.]?(?P<d>\d{1,2})(?:[T ].*)?", re.DOTALL),
    re.compile(r"(?P<d>\d{1,2})[-/. ](?P<m>\d{1,2})[-/. ](?P<y>\d{4})"),
    re.compile(r"(?P<m>\d{1,2})[-/. ](?P<d>\d{1,2})[-/. ](?P<y>\d{4})"),
)
_WRITTEN_DATE = re.compile(r"(?=.*[A-Za-z]{3})(?=.*\b(?:18|19|20)\d\d\b)[\w ,.]{8,30}")
# Birth years later than this are typing errors at best; a constant keeps the rule free of the clock.
BIRTH_YEAR_MAX = 2100


def birth_date(value: Any) -> bool:
    """A real date in a plausible year, in the usual orders."""
    text = scalar(value).strip()
    if len(text) > 40:
        return False
    for pattern in _DATES:
        found = pattern.fullmatch(text)
        if found and _is_date(int(found["y"]), int(found["m"]), int(found["d"])):
            return True
    return _WRITTEN_DATE.fullmatch(text) is not None


def _is_date(year: int, month: int, day: int) -> bool:
    try:
        datetime.date(year, month, day)
    except ValueError:
        return False
    return BIRTH_YEAR_MAX - 2 * AGE_MAX_YEARS <= year <= BIRTH_YEAR_MAX


_COORDINATE = re.compile(
    r"-?\d{1,3}(?:\.\d+)?°?\s?[NSEWnsew]?(?:[,; ]\s?-?\d{1,3}(?:\.\d+)?°?\s?[NSEWnsew]?)?"
)


def coordinate(value: Any) -> bool:
    """A latitude, a longitude or a pair, as number or text."""
    if type(value) in (int, float):
        return bool(-180 <= value <= 180)
    return type(value) is str and 0 < len(value) < 60 and _COORDINATE.fullmatch(value.strip()) is not None


def card(value: Any) -> bool:
    """A payment card number, separators allowed."""
    text = compact(value)
    return 12 < len(text) < 20 and text.isdecimal() and text.isascii() and check_digits.payment_card(text)


def iban(value: Any) -> bool:
    """An IBAN, spaces allowed."""
    return check_digits.iban(compact(value))


def passport(value: Any) -> bool:
    """Six to nine letters and digits with at least one digit: what all issuing states use."""
    text = compact(value)
    return 6 <= len(text) <= 9 and text.isalnum() and any(map(str.isdigit, text))


def record_number(value: Any) -> bool:
    """A short code with digits."""
    text = filled(value)
    return 2 <= len(text) <= 40 and any(map(str.isdigit, text)) and " " not in text


def document_number(value: Any) -> bool:
    """Five to twenty letters and digits, most of them digits."""
    text = compact(value)
    return 5 <= len(text) <= 20 and text.isalnum() and 2 * sum(map(str.isdigit, text)) >= len(text)


def secret(value: Any) -> bool:
    """Anything but a placeholder or a machine's constant ("%%1794")."""
    text = filled(value)
    return type(value) in (str, int) and len(text) >= 3 and not text.startswith("%%") and set(text) != {"*"}


def token(value: Any) -> bool:
    """A secret of some length."""
    return type(value) is str and len(value) >= 8 and secret(value)


def connection_string(value: Any) -> bool:
    """Key-value pairs or an address with credentials."""
    return type(value) is str and len(value) >= 12 and ("=" in value or "@" in value)
