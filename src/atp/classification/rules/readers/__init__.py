"""The readers: each finds one kind of thing in one string and says how sure it is.

A reader takes a text and yields (type, confidence, rule id). Every pattern is bounded (no repetition inside a
repetition without an upper limit), so a hostile string costs time in proportion to its length.
"""

from atp.classification.rules.readers.credentials import (
    assignment,
    authorization,
    aws_access_key,
    azure,
    jwt,
    private_key,
    url_credentials,
    vendor_key,
)
from atp.classification.rules.readers.numbers import (
    bare_number,
    belgium_nn,
    brazil_cpf,
    france_nir,
    iban,
    india_aadhaar,
    italy_cf,
    passport_mrz,
    payment_card,
    spain_dni,
    sweden_pnr,
    us_ssn,
    worded_national_id,
)
from atp.classification.rules.readers.people import (
    birth_date_worded,
    email,
    geo_pair,
    ipv4,
    ipv6,
    mac,
    phone_international,
    phone_national,
    phone_worded,
)

__all__ = [
    "assignment",
    "authorization",
    "aws_access_key",
    "azure",
    "bare_number",
    "belgium_nn",
    "birth_date_worded",
    "brazil_cpf",
    "email",
    "france_nir",
    "geo_pair",
    "iban",
    "india_aadhaar",
    "ipv4",
    "ipv6",
    "italy_cf",
    "jwt",
    "mac",
    "passport_mrz",
    "payment_card",
    "phone_international",
    "phone_national",
    "phone_worded",
    "private_key",
    "spain_dni",
    "sweden_pnr",
    "url_credentials",
    "us_ssn",
    "vendor_key",
    "worded_national_id",
]
