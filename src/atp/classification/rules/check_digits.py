"""Check digits: payment cards, IBAN, national identity numbers. Each takes digits (and letters) only.

A validator says whether the number is well-formed by its issuer's public rule; it rejects every change of a
single digit, which is what makes it worth more than the pattern (the tests prove it for each).
"""

from __future__ import annotations

from collections.abc import Callable

LUHN_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 annex B."""
    total = 0
    for index, char in enumerate(reversed(digits)):
        total += LUHN_DOUBLED[int(char)] if index & 1 else int(char)
    return total % 10 == 0


def payment_card(digits: str) -> bool:
    """Luhn, and an issuer prefix with one of its lengths."""
    return _issuer(digits) and luhn(digits)


def _issuer(digits: str) -> bool:
    size, two, four = len(digits), int(digits[:2]), int(digits[:4])
    if digits[0] == "4":
        return size in (13, 16, 19)
    if 51 <= two <= 55 or 2221 <= four <= 2720:
        return size == 16
    if two in (34, 37):
        return size == 15
    if two in (36, 38) or 3000 <= four <= 3059:
        return size == 14
    if four == 6011 or two == 65 or 6440 <= four <= 6499 or two == 62:
        return 16 <= size <= 19
    return 3528 <= four <= 3589 and size == 16


# ISO 13616 registry: length by country.
IBAN_LENGTHS: dict[str, int] = {
    **dict.fromkeys(("NO",), 15),
    **dict.fromkeys(("BE",), 16),
    **dict.fromkeys(("DK", "FO", "FI", "GL", "NL", "FK", "SD"), 18),
    **dict.fromkeys(("MK", "SI"), 19),
    **dict.fromkeys(("AT", "BA", "EE", "KZ", "XK", "LT", "LU", "MN"), 20),
    **dict.fromkeys(("HR", "LV", "LI", "CH"), 21),
    **dict.fromkeys(("BH", "BG", "CR", "GE", "DE", "IE", "ME", "RS", "GB", "VA"), 22),
    **dict.fromkeys(("TL", "GI", "IQ", "IL", "SO", "AE", "OM"), 23),
    **dict.fromkeys(("AD", "CZ", "MD", "PK", "RO", "SA", "SK", "ES", "SE", "TN", "VG"), 24),
    **dict.fromkeys(("LY", "PT", "ST"), 25),
    **dict.fromkeys(("IS", "TR"), 26),
    **dict.fromkeys(("FR", "GR", "IT", "MR", "MC", "SM", "BI", "DJ"), 27),
    **dict.fromkeys(("AL", "AZ", "BY", "CY", "DO", "SV", "GT", "HU", "LB", "NI", "PL"), 28),
    **dict.fromkeys(("BR", "EG", "PS", "QA", "UA"), 29),
    **dict.fromkeys(("JO", "KW", "MU", "YE"), 30),
    **dict.fromkeys(("MT", "SC"), 31),
    **dict.fromkeys(("LC",), 32),
    **dict.fromkeys(("RU",), 33),
}


def iban(text: str) -> bool:
    """ISO 13616: the country's length and MOD 97-10; spaces removed beforehand."""
    if IBAN_LENGTHS.get(text[:2]) != len(text) or not text.isalnum() or not text.isascii():
        return False
    return int("".join(str(int(char, 36)) for char in text[4:] + text[:4])) % 97 == 1


def us_ssn(digits: str) -> bool:
    """Social security numbers that were or will be issued; there is no check digit."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return (
        len(digits) == 9
        and area not in ("000", "666")
        and area[0] != "9"
        and group != "00"
        and serial != "0000"
    )


def israel_id(digits: str) -> bool:
    """Teudat Zehut: nine digits, Luhn from the left."""
    return len(digits) == 9 and digits != "000000000" and luhn(digits)


DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"


def spain_dni(text: str) -> bool:
    """DNI (eight digits) or NIE (X, Y, Z and seven digits) with its letter modulo 23."""
    body = text[:-1].translate({88: "0", 89: "1", 90: "2"})
    return len(text) == 9 and body.isdecimal() and DNI_LETTERS[int(body) % 23] == text[-1]


def netherlands_bsn(digits: str) -> bool:
    """Burgerservicenummer: the eleven test."""
    if len(digits) != 9 or digits == "000000000":
        return False
    return (sum(int(digits[i]) * (9 - i) for i in range(8)) - int(digits[8])) % 11 == 0


def belgium_nn(digits: str) -> bool:
    """Rijksregisternummer: date, counter, modulo 97 of nine digits (with a 2 before them from 2000 on)."""
    if len(digits) != 11 or not _month_day(digits[2:4], digits[4:6], allow_unknown=True):
        return False
    return any(97 - int(century + digits[:9]) % 97 == int(digits[9:]) for century in ("", "2"))


def poland_pesel(digits: str) -> bool:
    """PESEL: date with the century in the month, weights 1379."""
    if len(digits) != 11 or not _month_day(f"{int(digits[2:4]) % 20:02d}", digits[4:6]):
        return False
    return sum(int(d) * w for d, w in zip(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1), strict=True)) % 10 == 0


def sweden_pnr(digits: str) -> bool:
    """Personnummer (also samordningsnummer, day + 60): ten digits, Luhn; a century before them is cut."""
    digits = digits[2:] if len(digits) == 12 else digits
    if len(digits) != 10:
        return False
    day = int(digits[4:6])
    return _month_day(digits[2:4], f"{day - 60 if day > 60 else day:02d}") and luhn(digits)


def france_nir(text: str) -> bool:
    """NIR: thirteen characters (2A and 2B for Corsica) and their complement modulo 97."""
    if len(text) != 15 or text[0] not in "1234":
        return False
    body = text[:13].replace("2A", "19", 1) if text[5:7] == "2A" else text[:13]
    body = body[:5] + "18" + body[7:] if body[5:7] == "2B" else body
    if not (body + text[13:]).isdecimal():
        return False
    month = int(text[3:5])
    plausible = 1 <= month <= 12 or 20 <= month <= 42 or month >= 50
    return plausible and 97 - int(body) % 97 == int(text[13:])


def brazil_cpf(digits: str) -> bool:
    """CPF: two check digits modulo 11; eleven equal digits pass the sum and are refused."""
    if len(digits) != 11 or digits == digits[0] * 11:
        return False
    for size in (9, 10):
        rest = sum(int(digits[i]) * (size + 1 - i) for i in range(size)) * 10 % 11 % 10
        if rest != int(digits[size]):
            return False
    return True


def germany_idnr(digits: str) -> bool:
    """Steuer-Identifikationsnummer: ISO 7064 MOD 11,10; of the first ten one digit occurs twice or thrice."""
    if len(digits) != 11 or digits[0] == "0":
        return False
    counts = [digits[:10].count(d) for d in "0123456789"]
    if max(counts) > 3 or len([c for c in counts if c > 1]) != 1:
        return False
    product = 10
    for char in digits[:10]:
        total = (int(char) + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == int(digits[10])


CF_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)


def italy_cf(text: str) -> bool:
    """Codice fiscale: the sixteenth letter over odd and even positions (D.M. 23/12/1976)."""
    if len(text) != 16 or not text.isascii() or not text.isalnum():
        return False
    total = 0
    for index, char in enumerate(text[:15]):
        value = int(char) if char.isdecimal() else ord(char) - 65
        total += CF_ODD[value] if index % 2 == 0 else value
    return chr(65 + total % 26) == text[15]


VERHOEFF_D = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    (1, 2, 3, 4, 0, 6, 7, 8, 9, 5),
    (2, 3, 4, 0, 1, 7, 8, 9, 5, 6),
    (3, 4, 0, 1, 2, 8, 9, 5, 6, 7),
    (4, 0, 1, 2, 3, 9, 5, 6, 7, 8),
    (5, 9, 8, 7, 6, 0, 4, 3, 2, 1),
    (6, 5, 9, 8, 7, 1, 0, 4, 3, 2),
    (7, 6, 5, 9, 8, 2, 1, 0, 4, 3),
    (8, 7, 6, 5, 9, 3, 2, 1, 0, 4),
    (9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
)
VERHOEFF_P = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    (1, 5, 7, 6, 2, 8, 3, 0, 9, 4),
    (5, 8, 0, 3, 7, 9, 6, 1, 4, 2),
    (8, 9, 1, 6, 0, 4, 3, 5, 2, 7),
    (9, 4, 5, 3, 1, 2, 6, 8, 7, 0),
    (4, 2, 8, 6, 5, 7, 3, 9, 0, 1),
    (2, 7, 9, 3, 8, 0, 6, 4, 1, 5),
    (7, 0, 4, 6, 9, 1, 3, 2, 5, 8),
)


def india_aadhaar(digits: str) -> bool:
    """Aadhaar: twelve digits, the first 2 to 9, Verhoeff."""
    if len(digits) != 12 or digits[0] in "01":
        return False
    check = 0
    for index, char in enumerate(reversed(digits)):
        check = VERHOEFF_D[check][VERHOEFF_P[index % 8][int(char)]]
    return check == 0


def uk_nhs(digits: str) -> bool:
    """NHS number: ten digits, modulo 11."""
    if len(digits) != 10 or digits == digits[0] * 10:
        return False
    check = 11 - sum(int(digits[i]) * (10 - i) for i in range(9)) % 11
    return (0 if check == 11 else check) == int(digits[9])


MRZ_WEIGHTS = (7, 3, 1)


def mrz_check(field: str, digit: str) -> bool:
    """ICAO 9303 part 3: weights 7 3 1 over digits, letters from 10, filler 0."""
    total = sum((0 if c == "<" else int(c, 36)) * MRZ_WEIGHTS[i % 3] for i, c in enumerate(field))
    return digit == str(total % 10) or (digit == "<" and total == 0)


def _month_day(month: str, day: str, *, allow_unknown: bool = False) -> bool:
    low = 0 if allow_unknown else 1
    return low <= int(month) <= 12 and low <= int(day) <= 31


# Country code → validator, for a number found under a name or beside a word that says which it is.
NATIONAL: dict[str, Callable[[str], bool]] = {
    "us": us_ssn,
    "il": israel_id,
    "es": spain_dni,
    "nl": netherlands_bsn,
    "be": belgium_nn,
    "pl": poland_pesel,
    "se": sweden_pnr,
    "fr": france_nir,
    "br": brazil_cpf,
    "de": germany_idnr,
    "it": italy_cf,
    "in": india_aadhaar,
    "gb": uk_nhs,
}
