"""Readers of numbers with check digits: cards, accounts, national identities, passports.

A pattern proposes, the issuer's rule in `check_digits` decides; how the number is written says how sure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from atp.classification.model import Confidence
from atp.classification.rules import check_digits, value_tests

Found = Iterator[tuple[str, Confidence, str]]

_CARD = re.compile(r"(?<![\w.+-])[2-6][0-9]{3}(?:([ -]?)[0-9]{4}\1[0-9]{4}\1[0-9]{1,4}(?:\1[0-9]{1,3})?|"
                   r"([ -]?)[0-9]{6}\2[0-9]{4,5})(?![\w-]|\.[0-9])")  # fmt: skip


def payment_card(text: str) -> Found:
    """Issuer prefix, length and Luhn; digits in the usual groups are surer than a bare run."""
    for found in _CARD.finditer(text):
        digits = found[0].replace(" ", "").replace("-", "")
        if not 13 <= len(digits) <= 19 or not check_digits.payment_card(digits):
            continue
        if len(digits) != len(found[0]):
            yield "payment_card", "high", "card.value"
        else:
            yield "payment_card", "medium" if len(digits) in (15, 16) else "low", "card.bare.value"


_IBAN = re.compile(
    r"(?<![0-9A-Za-z])[A-Z]{2}[0-9]{2}(?: ?[0-9A-Z]{4}){2,7}(?: ?[0-9A-Z]{1,4})?(?![0-9A-Za-z])"
)


def iban(text: str) -> Found:
    """ISO 13616; words after a spaced IBAN may look like further groups, so shorter readings are tried too."""
    for found in _IBAN.finditer(text):
        groups = found[0].split(" ")
        for count in range(len(groups), 0, -1):
            if check_digits.iban("".join(groups[:count])):
                yield "iban", "high", "iban.value"
                break


def _numbers(
    pattern: str, valid: Callable[[str], bool], rule: str, confidence: Confidence
) -> Callable[[str], Found]:
    compiled = re.compile(pattern)

    def reader(text: str) -> Found:
        for found in compiled.finditer(text):
            if value_tests.safely(valid, re.sub("[ .+-]", "", found[0])):
                yield "national_id", confidence, rule

    return reader


us_ssn = _numbers(
    r"(?<![\w-])[0-9]{3}-[0-9]{2}-[0-9]{4}(?![\w-])", check_digits.us_ssn, "national_id.us.value", "medium"
)
brazil_cpf = _numbers(
    r"(?<![\w.-])[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}(?![\w-])",
    check_digits.brazil_cpf,
    "national_id.br.value",
    "high",
)
belgium_nn = _numbers(
    r"(?<![\w.-])[0-9]{2}\.[0-9]{2}\.[0-9]{2}-[0-9]{3}\.[0-9]{2}(?![\w-])",
    check_digits.belgium_nn, "national_id.be.value", "high",
)  # fmt: skip
sweden_pnr = _numbers(
    r"(?<![\w.+-])(?:[0-9]{2})?[0-9]{6}[-+][0-9]{4}(?![\w.-])",
    check_digits.sweden_pnr,
    "national_id.se.value",
    "medium",
)
italy_cf = _numbers(
    r"(?<!\w)[A-Z]{6}[0-9]{2}[A-EHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z](?!\w)",
    check_digits.italy_cf, "national_id.it.value", "high",
)  # fmt: skip
france_nir = _numbers(
    r"(?<![\w.+-])[1-4]( ?)[0-9]{2}\1[0-9]{2}\1(?:[0-9]{2}|2[AB])\1[0-9]{3}\1[0-9]{3} ?[0-9]{2}(?![\w-])",
    check_digits.france_nir, "national_id.fr.value", "medium",
)  # fmt: skip
india_aadhaar = _numbers(
    r"(?<![\w.+-])[2-9][0-9]{3} [0-9]{4} [0-9]{4}(?!\w| ?[0-9-])",
    check_digits.india_aadhaar, "national_id.in.value", "medium",
)  # fmt: skip

_DNI = re.compile(r"(?<!\w)(?:[0-9]{8}|[XYZ][0-9]{7})-?[A-Z](?!\w)")
_DATE_T = re.compile(r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:[0-2][0-9]|3[01])[TZ]")


def spain_dni(text: str) -> Found:
    """DNI and NIE by their letter; `20200914Z` is a date."""
    for found in _DNI.finditer(text):
        number = found[0].replace("-", "")
        if not _DATE_T.fullmatch(number) and check_digits.spain_dni(number):
            yield "national_id", "medium", "national_id.es.value"


BARE = (("il", 9), ("nl", 9), ("gb", 10), ("se", 10), ("pl", 11), ("de", 11), ("br", 11), ("be", 11))


def bare_number(text: str) -> Found:
    """A string of 9 to 11 digits that passes some country's check: one in five random ones does, so only low."""
    if not text.isdecimal() or not text.isascii():
        return
    for country, size in BARE:
        if len(text) == size and check_digits.NATIONAL[country](text):
            yield "national_id", "low", f"national_id.{country}.bare"
            return


WORD_COUNTRY = (
    ("ssn", "us"), ("social security", "us"), ("teudat", "il"), ("dni", "es"), ("nie", "es"), ("bsn", "nl"),
    ("rijksregister", "be"), ("pesel", "pl"), ("personnummer", "se"), ("nir", "fr"), ("cpf", "br"),
    ("steuer", "de"), ("idnr", "de"), ("codice", "it"), ("aadhaar", "in"), ("nhs", "gb"),
)  # fmt: skip
_WORDED = re.compile(
    r"\b(ssn|social security|teudat zehut|dni|nie|bsn|rijksregister\w{0,6}|pesel|personnummer|nir|cpf|steuer-?id|idnr|"
    r"codice fiscale|aadhaar|nhs)(?:[^0-9A-Za-z]{1,3}[a-z]{2,6})?[^0-9A-Za-z]{1,3}([0-9A-Z](?:[ .-]?[0-9A-Z]){7,17})",
    re.IGNORECASE,
)


def worded_national_id(text: str) -> Found:
    """A number right after the word that says whose number it is."""
    for found in _WORDED.finditer(text):
        word, number = found[1].lower(), re.sub("[ .-]", "", found[2]).upper()
        country = next(c for w, c in WORD_COUNTRY if word.startswith(w))
        sizes = (9, 10, 11, 12, 15, 16)
        if any(value_tests.safely(check_digits.NATIONAL[country], number[:size]) for size in sizes):
            yield "national_id", "high", f"national_id.{country}.worded"


_MRZ = re.compile(
    r"P[A-Z<][A-Z<]{3}[A-Z<]{39}\s{1,2}([A-Z0-9<]{9})([0-9<])[A-Z<]{3}([0-9]{6})([0-9])[MFX<]([0-9]{6})([0-9])"
)


def passport_mrz(text: str) -> Found:
    """The machine-readable zone of a passport (ICAO 9303, TD3) with number, birth and expiry checks."""
    for found in _MRZ.finditer(text):
        if all(check_digits.mrz_check(found[i], found[i + 1]) for i in (1, 3, 5)):
            yield "passport", "high", "passport.mrz.value"
