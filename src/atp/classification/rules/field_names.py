"""What a field's name says about its value.

A name is cut into lower-case words (camelCase, snake_case, kebab-case, dots and spaces are all the same) and
its longest ending that is listed here decides: `customerFirstName` is a `first name`, `passwordLastSet` is
not a `password`. The value must still look the part, so `email: "-"` finds nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from atp.classification.model import Confidence
from atp.classification.rules import check_digits, readers, value_tests

# Field names met are remembered with what they mean, up to this many and this long; the rest is worked out
# again each time, so that nobody fills the memory with invented names.
REMEMBERED_NAMES_MAX = 8192
REMEMBERED_NAME_LENGTH_MAX = 64
# Longer endings than this many words are listed nowhere below.
ENDING_WORDS_MAX = 4


class FieldRule(msgspec.Struct, frozen=True, gc=False):
    """A listed ending: what it means and the test its value must pass.

    `covers` says that the test has read the whole value and knows what it is, so that no detector need look
    at it again.
    """

    type: str
    rule: str
    confidence: Confidence
    test: Callable[[Any], bool]
    covers: bool = True
    otherwise: FieldRule | None = None

    def judge(self, value: Any) -> FieldRule | None:
        """This rule or the one it falls back to, where the value passes the test."""
        if self.test(value):
            return self
        return self.otherwise.judge(value) if self.otherwise else None


# What a rule falls back to: an address inside a network, a national number whose check digit is mistyped.
UNCHECKED = FieldRule("national_id", "national_id.unchecked.field", "medium", value_tests.document_number)
PRIVATE_IP = FieldRule("ip_address", "ip.private.field", "medium", value_tests.private_ip)


def _national(country: str) -> Callable[[Any], bool]:
    valid = check_digits.NATIONAL[country]

    def test(value: Any) -> bool:
        text = value_tests.compact(value)
        return 8 < len(text) < 17 and text.isascii() and value_tests.safely(valid, text)

    return test


# The endings, as words, that say what a field holds.
EMAIL_NAMES = "email|e mail|email address|mail address|mail"
PHONE_NAMES = (
    "phone|phone number|mobile|mobile number|mobile phone|telephone|telephone number|tel|cell"
    "|cell phone|fax|fax number|msisdn|home phone|work phone"
)
IP_NAMES = (
    "ip|ip address|ipv 4|ipv 6|ipv4|ipv6|ip addr|remote addr|client address|source address"
    "|dest address|destination address"
)
MAC_NAMES = "mac|mac address|mac addr|hardware address"
NAME_NAMES = (
    "first name|last name|full name|given name|family name|middle name|surname|maiden name|forename"
    "|patient name|customer name|employee name|contact name|person name|holder name|cardholder"
    "|cardholder name|account holder|recipient name|sender name|real name|legal name|applicant name"
    "|student name|guardian name|next of kin|mothers maiden name"
)
DISPLAY_NAME_NAMES = "display name"
USERNAME_NAMES = "user name|username|login name|account name|sam account name|user principal name"
ADDRESS_NAMES = (
    "street|street address|street name|home address|postal address|mailing address|billing address"
    "|shipping address|delivery address|residential address|address line 1|address line 2"
    "|address line|domicile"
)
DOB_NAMES = "dob|date of birth|birth date|birthdate|birthday|birth day|born|born on|geburtsdatum"
GEO_NAMES = (
    "latitude|longitude|lat|lng|lon|long|geo|geo location|geolocation|coordinates|lat long|lat lng"
    "|gps|geo point"
)
CARD_NAMES = "card number|credit card|credit card number|debit card|card no|pan|cc number|ccn|payment card"
IBAN_NAMES = "iban|iban number|bank account"
PASSPORT_NAMES = "passport|passport number|passport no|passport id|travel document number"
MEDICAL_RECORD_NAMES = (
    "mrn|medical record number|medical record|medical record no|patient id|patient number"
    "|health record number|health insurance number|medicare number"
)
NATIONAL_ID_NAMES = (
    "national id|national id number|national identity number|national identification number"
    "|identity number|identity card number|id card number|social security|social insurance number"
    "|tax id|tax identification number|personal id number|nino|national insurance number"
)
PASSWORD_NAMES = "password|passwd|pwd|passphrase|pass phrase|pin code|otp|one time password|security answer"
API_KEY_NAMES = (
    "api key|apikey|api token|access token|refresh token|auth token|id token|bearer token"
    "|session token|authorization|client secret|secret key|shared secret|webhook secret"
    "|signing secret|api secret|app secret|secret|private token|csrf token|cookie|set cookie"
    "|shared key|account key|encryption key"
)
AWS_SECRET_NAMES = "secret access key|aws secret|aws session token"
CONNECTION_STRING_NAMES = "connection string|conn string|sas token|sas url"
PRIVATE_KEY_NAMES = "private key|rsa private key|ssh key"


def _rules() -> dict[tuple[str, ...], FieldRule]:
    lines: list[tuple[str, str, Confidence, Callable[[Any], bool], str]] = [
        ("email", "email.field", "high", value_tests.email, EMAIL_NAMES),
        ("phone", "phone.field", "high", value_tests.phone, PHONE_NAMES),
        ("ip_address", "ip.field", "high", value_tests.public_ip, IP_NAMES),
        ("mac_address", "mac.field", "high", value_tests.mac, MAC_NAMES),
        ("person_name", "name.field", "high", value_tests.person_name, NAME_NAMES),
        ("person_name", "display_name.field", "medium", value_tests.full_name, DISPLAY_NAME_NAMES),
        ("username", "username.field", "low", value_tests.username, USERNAME_NAMES),
        ("street_address", "address.field", "high", value_tests.address, ADDRESS_NAMES),
        ("date_of_birth", "dob.field", "high", value_tests.birth_date, DOB_NAMES),
        ("geo_location", "geo.field", "high", value_tests.coordinate, GEO_NAMES),
        ("payment_card", "card.field", "high", value_tests.card, CARD_NAMES),
        ("iban", "iban.field", "high", value_tests.iban, IBAN_NAMES),
        ("passport", "passport.field", "high", value_tests.passport, PASSPORT_NAMES),
        ("medical_record", "medical_record.field", "high", value_tests.record_number, MEDICAL_RECORD_NAMES),
        ("national_id", "national_id.field", "high", value_tests.document_number, NATIONAL_ID_NAMES),
        ("password", "password.field", "high", value_tests.secret, PASSWORD_NAMES),
        ("api_key", "api_key.field", "high", value_tests.token, API_KEY_NAMES),
        ("cloud_credential", "aws_secret.field", "high", value_tests.token, AWS_SECRET_NAMES),
        (
            "cloud_credential",
            "connection_string.field",
            "medium",
            value_tests.connection_string,
            CONNECTION_STRING_NAMES,
        ),
        ("private_key", "private_key.field", "high", value_tests.token, PRIVATE_KEY_NAMES),
    ]
    rules = {
        tuple(ending.split()): FieldRule(
            kind,
            rule,
            confidence,
            test,
            covers=kind != "street_address",
            otherwise=PRIVATE_IP if kind == "ip_address" else None,
        )
        for kind, rule, confidence, test, endings in lines
        for ending in endings.split("|")
    }
    for country, endings in NATIONAL_NAMES.items():
        rule = FieldRule(
            "national_id", f"national_id.{country}.field", "high", _national(country), otherwise=UNCHECKED
        )
        rules.update({tuple(ending.split()): rule for ending in endings.split("|")})
    return rules


NATIONAL_NAMES: dict[str, str] = {
    "us": "ssn|social security number|social security no",
    "il": "teudat zehut|mispar zehut|israeli id|israel id|tz",
    "es": "dni|nie|nif|dni number|dni nie",
    "nl": "bsn|burgerservicenummer|burger service nummer|sofinummer",
    "be": "rijksregisternummer|national register number|numero national|insz|niss|rrn",
    "pl": "pesel|pesel number",
    "se": "personnummer|person nummer|samordningsnummer",
    "fr": "nir|numero securite sociale|numero de securite sociale|secu number|num secu",
    "br": "cpf|cpf number|numero cpf",
    "de": "steuer id|steuer idnr|steueridentifikationsnummer|steuerliche identifikationsnummer|idnr",
    "it": "codice fiscale|codicefiscale|fiscal code",
    "in": "aadhaar|aadhaar number|aadhar|aadhar number|uidai",
    "gb": "nhs number|nhs no|nhs",
}

RULES = _rules()

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_]+")


def words(name: str) -> list[str]:
    """The lower-case words of a field name: "sourceIPAddress" → source, ip, address. Of a long one the end counts."""
    return [word.lower() for word in _WORDS.findall(name[-256:])]


def field_rule(name: str) -> FieldRule | None:
    """The rule of the longest listed ending of a name; a plural ("emails") is tried as a singular."""
    parts = words(name)
    rule = _ending(parts)
    if rule is None and parts and parts[-1].endswith("s"):
        parts[-1] = parts[-1][:-1] if not parts[-1].endswith("sses") else parts[-1][:-2]
        rule = _ending(parts)
    return rule


def _ending(parts: list[str]) -> FieldRule | None:
    for start in range(max(0, len(parts) - ENDING_WORDS_MAX), len(parts)):
        rule = RULES.get(tuple(parts[start:]))
        if rule is not None:
            return rule
    return None


class KeyFacts(msgspec.Struct, frozen=True, gc=False):
    """What a walk must know of one key: what it announces, why it is refused, whether it is not ASCII.

    `personal` is the type and rule of what the key itself is, as in `{"alice@example.com": …}`.
    """

    rule: FieldRule | None
    problem: str | None
    exotic: bool
    personal: tuple[str, str] | None = None


PLAIN = KeyFacts(rule=None, problem=None, exotic=False)

# Names already worked out. Written by any thread (each write is one atomic step, and all write the same),
# never emptied. PLAIN_NAMES holds those that say nothing, for one set comparison per object.
KNOWN_NAMES: dict[str, KeyFacts] = {}
PLAIN_NAMES: set[str] = set()


def key_facts(name: str) -> KeyFacts:
    """What a key says, remembered."""
    facts = KNOWN_NAMES.get(name)
    if facts is None:
        facts = _work_out(name)
        room = len(KNOWN_NAMES) < REMEMBERED_NAMES_MAX and len(name) <= REMEMBERED_NAME_LENGTH_MAX
        if room and facts.personal is None:
            KNOWN_NAMES[name] = facts
            if facts is PLAIN:
                PLAIN_NAMES.add(name)
    return facts


def _work_out(name: str) -> KeyFacts:
    problem = None
    if name.startswith("~"):
        problem = "RESERVED_KEY"
    elif "\0" in name or not value_tests.encodable(name):
        problem = "INVALID_CHARACTER"
    rule, exotic, personal = field_rule(name), not name.isascii(), _personal(name)
    if rule is None and problem is None and personal is None and not exotic:
        return PLAIN
    return KeyFacts(rule, problem, exotic, personal)


# What objects are sometimes keyed by.
KEY_READERS = (readers.email, readers.phone_international, readers.payment_card, readers.iban, readers.us_ssn)


def _personal(name: str) -> tuple[str, str] | None:
    """The type and rule of a key that is itself somebody's."""
    if len(name) < 6 or (name.isalpha() and name.isascii()):
        return None
    for reader in KEY_READERS:
        for kind, confidence, rule in reader(name):
            if confidence != "low":
                return kind, rule.replace(".value", ".key")
    return None
