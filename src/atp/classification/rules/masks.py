"""What a masked value still shows: enough to recognise it, too little to use it.

A value that does not fit its type, or stands inside a longer text, shows nothing at all.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

# How many characters of a card or telephone number stay readable.
CARD_TAIL = 4
PHONE_TAIL = 2


def mask(kind: str, value: Any) -> str:
    """The masked form of a value of a type; a value that does not fit its type shows nothing."""
    text = value.strip() if isinstance(value, str) else str(value) if type(value) in (int, float) else ""
    masker = {"email": _email, "payment_card": _card, "iban": _iban, "phone": _phone, "ip_address": _ip,
              "person_name": _name, "date_of_birth": _year}.get(kind)  # fmt: skip
    return masker(text) if masker and text else "***"


def _email(text: str) -> str:
    local, at, domain = text.rpartition("@")
    host, dot, top = domain.rpartition(".")
    if not (at and local and host) or " " in text or "@" in local:
        return "***"
    return f"{local[0]}***@{host[0]}***{dot}{top}"


def _digits(text: str) -> str:
    return "".join(char for char in text if char.isdecimal())


def _card(text: str) -> str:
    digits = _digits(text)
    whole = 13 <= len(digits) <= 19 and len(digits) >= len(text) - 6
    return f"**** **** **** {digits[-CARD_TAIL:]}" if whole else "***"


def _iban(text: str) -> str:
    return f"{text[:2]}** **** {text[-CARD_TAIL:]}" if 15 <= len(text) <= 42 and text[:2].isalpha() else "***"


def _phone(text: str) -> str:
    digits = _digits(text)
    return f"***{digits[-PHONE_TAIL:]}" if 7 <= len(digits) <= 15 and len(text) <= 24 else "***"


def _ip(text: str) -> str:
    """The network only: /24 of IPv4, /48 of IPv6."""
    try:
        address = ip_address(text.split("%", 1)[0])
    except ValueError:
        return "***"
    if address.version == 4:
        return text.rpartition(".")[0] + ".0/24"
    return ":".join(address.exploded.split(":")[:3]) + "::/48"


def _name(text: str) -> str:
    return " ".join(f"{part[0]}***" for part in text.split()[:4])


def _year(text: str) -> str:
    return f"{text[:4]}-**-**" if text[:4].isdecimal() and not text[4:8].isdecimal() else "***"
