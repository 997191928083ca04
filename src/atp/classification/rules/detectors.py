"""The detectors by value: for each a trigger for the automaton and a reader that decides.

A trigger is loose, cheap and fires once per place; a reader gets the whole string and says what is in it.
Readers look at a bounded stretch around each suspect, so their work grows with the string and no faster.
Order matters only for ties: of two findings of one type at one place the surer one stays, then the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from atp.classification.model import Confidence
from atp.classification.rules import readers

Sighting = tuple[str, Confidence, str]  # type, confidence, rule id
Reader = Callable[[str], Iterator[Sighting]]


class Trigger(msgspec.Struct, frozen=True, gc=False):
    """A Hyperscan pattern over the NUL-joined strings and the reader of the string it fires in."""

    pattern: str
    reader: Reader
    caseless: bool = False


TRIGGERS: tuple[Trigger, ...] = (
    Trigger(r"[^\x00\s@]@[^\x00\s@]", readers.email),
    Trigger(r"(?:[^0-9A-Za-z./+-]|//)[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]", readers.ipv4),
    Trigger(r":[0-9a-f]{1,4}:[0-9a-f]{1,4}:[0-9a-f]{1,4}:", readers.ipv6, caseless=True),
    Trigger(r"[^0-9a-zA-Z:][0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{1,4}){0,6}::[0-9a-fA-F]", readers.ipv6),
    Trigger(r"[^0-9a-f][0-9a-f]{2}[:-][0-9a-f]{2}[:-][0-9a-f]{2}[:-][0-9a-f]{2}[:-][0-9a-f]{2}[:-][0-9a-f]{2}",
            readers.mac, caseless=True),
    Trigger(r"[^0-9A-Za-z_.+-][2-6][0-9]{12}", readers.payment_card),
    Trigger(r"[^0-9][2-6][0-9]{3}[ -][0-9]{4}[ -][0-9]{4}[ -][0-9]", readers.payment_card),
    Trigger(r"[^0-9]3[0-9]{3}[ -][0-9]{6}[ -][0-9]{4}", readers.payment_card),
    Trigger(r"[^0-9A-Za-z][A-Z]{2}[0-9]{2}(?: ?[0-9A-Z]{4}){2} ?[0-9A-Z]{3}", readers.iban),
    Trigger(r"[^0-9][0-9]{3}-[0-9]{2}-[0-9]{4}", readers.us_ssn),
    Trigger(r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}", readers.brazil_cpf),
    Trigger(r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}-[0-9]{3}\.[0-9]{2}", readers.belgium_nn),
    Trigger(r"[^0-9A-Za-z_.+-][0-9]{6}(?:[0-9]{2})?[-+][0-9]{4}[^0-9A-Za-z_.-]", readers.sweden_pnr),
    Trigger(r"[^0-9A-Za-z_](?:[0-9]{8}|[XYZ][0-9]{7})-?[A-HJ-NP-TV-Z][^0-9A-Za-z_]", readers.spain_dni),
    Trigger(r"[^0-9A-Za-z_][A-Z]{6}[0-9]{2}[A-EHLMPRST][0-9]{2}[A-Z]", readers.italy_cf),
    Trigger(r"[^0-9A-Za-z_.+-][1-4][0-9]{5}[0-9AB][0-9]{8}[^0-9A-Za-z_-]", readers.france_nir),
    Trigger(r"[1-4] [0-9]{2} [0-9]{2} [0-9][0-9AB] [0-9]{3} ", readers.france_nir),
    Trigger(r"[^0-9][2-9][0-9]{3} [0-9]{4} [0-9]{4}", readers.india_aadhaar),
    Trigger(r"\x00[0-9]{9,11}\x00", readers.bare_number),
    Trigger(r"[^0-9A-Za-z+]\+[1-9][0-9 .()-]", readers.phone_international),
    Trigger(r"[0-9]{3}[-. )] ?[0-9]{3}[-. ][0-9]{4}", readers.phone_national),
    Trigger(r"[^0-9A-Za-z_](?:phone|mobile|tel|telephone|cell|fax|call)[^0-9A-Za-z_\x00][^0-9\x00]{0,11}[0-9]",
            readers.phone_worded, caseless=True),
    Trigger(r"[^0-9A-Za-z_](?:ssn|social security|teudat zehut|dni|nie|bsn|rijksregister|pesel|personnummer|nir|cpf|steuer-?id|idnr"
            r"|codice fiscale|aadhaar|nhs)[^0-9A-Za-z\x00]{1,3}(?:[a-z]{2,6}[^0-9A-Za-z\x00]{1,3})?[0-9A-Z][0-9]",
            readers.worded_national_id, caseless=True),
    Trigger(r"[A-Z]<<[A-Z]", readers.passport_mrz),
    Trigger(r"(?:dob|birth|born)[^0-9\x00]{1,16}[0-9]", readers.birth_date_worded, caseless=True),
    Trigger(r"-?[0-9]{1,2}\.[0-9]{4,8}(?:°)?[,;] ?-?[0-9]{1,3}\.[0-9]{4}", readers.geo_pair),
    Trigger(r"[^0-9A-Za-z]eyJ[A-Za-z0-9_-]{8}", readers.jwt),
    Trigger(r"-----BEGIN ", readers.private_key),
    Trigger(r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{4}", readers.aws_access_key),
    Trigger(r"[^0-9A-Za-z_-](?:gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|xapp-|[sr]k_(?:live|test)_|whsec_|AIza|"
            r"ya29\.|npm_|SG\.|sk-)[0-9A-Za-z_-]{16}", readers.vendor_key),
    Trigger(r"hooks\.slack\.com/services/", readers.vendor_key),
    Trigger(r"(?:AccountKey|SharedAccessKey|SharedSecretValue)=|[?&]sig=", readers.azure),
    Trigger(r"://[^\x00\s/:@]*:[^\x00\s/@]{1,100}@", readers.url_credentials),
    Trigger(r"(?:secret|passw(?:or)?d|passphrase|pwd|api[_-]?key|access[_-]?key|auth[_-]?token|access[_-]?token|"
            r"refresh[_-]?token)[\"']?[ \t]{0,2}[:=]", readers.assignment, caseless=True),
    Trigger(r"(?:bearer|basic) [0-9a-z+/._~-]{12}", readers.authorization, caseless=True),
)  # fmt: skip
