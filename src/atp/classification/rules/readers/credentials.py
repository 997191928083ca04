"""Readers of what opens a door: tokens, keys, passwords.

Where vendors gave their keys a prefix it decides; elsewhere the word before the value does.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

from atp.classification.model import Confidence
from atp.classification.rules import value_tests

Found = Iterator[tuple[str, Confidence, str]]

_JWT = re.compile(r"(?<![\w-])(eyJ[\w-]{8,2000})\.([\w-]{4,16000})\.([\w-]{0,1500})", re.ASCII)


def jwt(text: str) -> Found:
    """A JWS in compact form whose header is a JSON object with `alg` (RFC 7515)."""
    for found in _JWT.finditer(text):
        head = found[1]
        try:
            header = binascii.a2b_base64(head.replace("-", "+").replace("_", "/") + "=" * (-len(head) % 4))
        except binascii.Error:
            continue
        if b'"alg"' in header:
            yield "jwt", "high", "jwt.value"


_PEM = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")


def private_key(text: str) -> Found:
    """PEM and PGP private keys; certificates and public keys are public."""
    if _PEM.search(text):
        yield "private_key", "high", "private_key.pem.value"


_AWS_ID = re.compile(r"(?<![0-9A-Za-z])(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?![0-9A-Za-z])")


def aws_access_key(text: str) -> Found:
    """AWS access key ids; AIDA, AROA and other unique ids name a principal."""
    if _AWS_ID.search(text):
        yield "access_key_id", "high", "aws_access_key.value"


VENDOR_KEYS: tuple[tuple[str, str, re.Pattern[str]], ...] = tuple(
    (kind, rule, re.compile(rf"(?<![0-9A-Za-z_-]){pattern}(?![0-9A-Za-z_-])"))
    for kind, rule, pattern in (
        ("api_key", "github.value", r"(?:gh[pousr]_[0-9A-Za-z]{36,255}|github_pat_[0-9A-Za-z_]{22,255})"),
        ("api_key", "gitlab.value", r"glpat-[0-9A-Za-z_-]{20,64}"),
        ("api_key", "slack.value", r"(?:xox[abeoprs]-[0-9A-Za-z-]{10,250}|xapp-[0-9]-[0-9A-Za-z-]{10,250})"),
        ("api_key", "slack_webhook.value", r"hooks\.slack\.com/services/[0-9A-Za-z]{8,20}/[0-9A-Za-z]{8,20}/[0-9A-Za-z]{16,40}"),
        ("api_key", "stripe.value", r"(?:[sr]k_(?:live|test)_[0-9A-Za-z]{16,250}|whsec_[0-9A-Za-z+/=]{24,100})"),
        ("cloud_credential", "google.value", r"(?:AIza[0-9A-Za-z_-]{35}|ya29\.[0-9A-Za-z_-]{20,2000})"),
        ("api_key", "npm.value", r"npm_[0-9A-Za-z]{36}"),
        ("api_key", "sendgrid.value", r"SG\.[\w-]{22}\.[\w-]{43}"),
        ("api_key", "model_api.value", r"sk-(?:(?:proj|ant|svcacct)-[0-9A-Za-z_-]{20,250}|[0-9A-Za-z]{32,64})"),
    )
)  # fmt: skip


def vendor_key(text: str) -> Found:
    """Keys that vendors gave a prefix for this very purpose."""
    for kind, rule, pattern in VENDOR_KEYS:
        if pattern.search(text):
            yield kind, "high", rule


_AZURE_KEY = re.compile(r"(?:AccountKey|SharedAccessKey|SharedSecretValue)=[0-9A-Za-z+/]{43,86}={0,2}")
_AZURE_SAS = re.compile(r"[?&]sig=[0-9A-Za-z%+/_-]{40,120}")


def azure(text: str) -> Found:
    """Keys in Azure connection strings and signatures of shared access URLs."""
    if _AZURE_KEY.search(text):
        yield "cloud_credential", "high", "azure_key.value"
    if _AZURE_SAS.search(text):
        yield "cloud_credential", "high", "azure_sas.value"


_URL_CREDENTIALS = re.compile(r"[a-z0-9+.-]{1,20}://[^\s/:@]{0,100}:([^\s/@]{1,100})@[\w\[]", re.IGNORECASE)


def url_credentials(text: str) -> Found:
    """`scheme://user:password@host`, unless the password is blanked out."""
    for found in _URL_CREDENTIALS.finditer(text):
        if not _blank(found[1]):
            yield "password", "high", "url.credentials"


_ASSIGNMENT = re.compile(
    r"(?P<name>(?:aws_)?secret(?:[_-]?access)?[_-]?key|client[_-]?secret|secret|passw(?:or)?d|passphrase|pwd|api[_-]?key|"
    r"access[_-]?key|auth[_-]?token|access[_-]?token|refresh[_-]?token)[\"']?[ \t]{0,2}(?::|=(?!=))[ \t]{0,2}"
    r"(?P<quote>[\"']?)(?P<value>[^\s\"'&,;<>(){}$]{4,200})",
    re.IGNORECASE,
)
_AWS_SECRET = re.compile(r"[0-9A-Za-z+/]{40}")


def assignment(text: str) -> Found:
    """`api_key=…`, `password: …` in running text; references to variables and blanked values are left."""
    for found in _ASSIGNMENT.finditer(text):
        name, value = found["name"].lower(), found["value"]
        if _blank(value):
            continue
        if "secret" in name and _AWS_SECRET.fullmatch(value):
            yield "cloud_credential", "high", "aws_secret.value"
        elif name[0] == "p":
            yield "password", "medium", "password.assignment"
        elif len(value) >= 8 and any(map(str.isdigit, value)):
            yield "api_key", "medium", "api_key.assignment"


def _blank(value: str) -> bool:
    lowered = value.lower().strip("[]<>")
    return (
        lowered in value_tests.PLACEHOLDERS
        or set(value) <= set("*xX.•#-_%")
        or value.startswith(("$", "%", "{"))
    )


_AUTHORIZATION = re.compile(
    r"\b(?:bearer [\w+/.~=-]{20,4000}|basic [0-9A-Za-z+/]{12,400}={0,2}(?![\w.]))", re.IGNORECASE
)


def authorization(text: str) -> Found:
    """The value of an Authorization header (RFC 6750, RFC 7617)."""
    for found in _AUTHORIZATION.finditer(text):
        rest = found[0].split(" ", 1)[1]
        if any(map(str.isdigit, rest)) and not rest.islower():
            yield "api_key", "high", "authorization.value"
