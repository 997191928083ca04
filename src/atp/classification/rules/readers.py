"""The readers: each finds one kind of thing in one string and says how sure it is.

Every pattern here is bounded (no repetition inside a repetition without an upper limit), so a hostile string
costs time in proportion to its length.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterator

from atp.classification.model import Confidence
from atp.classification.rules import check_digits, value_tests

Sighting = tuple[str, Confidence, str]
Found = Iterator[Sighting]

# ---- people and networks

_LOCAL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}")
_DOMAIN = re.compile(r"((?:[^\W_](?:[^\W_]|-){0,62}\.){1,10})([^\W\d_]{2,24}|xn--[a-z0-9-]{2,50})(?![\w-])")
# What looks like a domain's last label and is a file's or a unit's ending.
NOT_DOMAINS = frozenset(
    {"png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "mjs", "ts", "json", "yaml", "yml", "toml", "xml",
     "html", "txt", "log", "tgz", "gz", "zip", "tar", "whl", "exe", "dll", "sys", "bat", "cmd", "conf", "cfg",
     "service", "socket", "target", "timer", "slice", "mount", "scope", "jar", "class", "lock", "git", "internalversion"}
)  # fmt: skip


def email(text: str) -> Found:
    """An address (RFC 5321, and RFC 6531 for other scripts); not a URL's credentials, not `name@2x.png`."""
    at = text.find("@")
    while at > 0:
        local = _LOCAL.match(text[max(0, at - 65) : at][::-1])
        domain = _DOMAIN.match(text, at + 1)
        if local and domain and domain[2].lower() not in NOT_DOMAINS and _is_local_part(text, at, local[0][::-1]):
            yield "email", "high", "email.value"
            return
        at = text.find("@", at + 1)


def _is_local_part(text: str, at: int, local: str) -> bool:
    start = at - len(local)
    in_url = "//" in local or text[max(0, start - 2) : start] == "//" or _inside_authority(text, start)
    return len(local) <= 64 and not in_url and local[-1] != "." and any(map(str.isalnum, local))


def _inside_authority(text: str, start: int) -> bool:
    """Whether a suspect follows `scheme://user:`, so that it is a password and a host."""
    return text[start - 1 : start] == ":" and "://" in text[max(0, start - 80) : start]


_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"(?<![\w.+-])(?:{_OCTET}\.){{3}}{_OCTET}(?![\w-]|\.\w|/[A-Za-z])")
_BEFORE_VERSION = re.compile(r"(?:\bv|\bver|version|build|release|\brev|firmware)[\s:=\"'(]{0,4}\Z", re.IGNORECASE)


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


_IPV6 = re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f]{0,4}:)[0-9A-Fa-f:]{3,39}(?:(?<=:)[0-9.]{7,15})?(?:%\w{1,16})?(?![\w:])")


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


# ---- numbers with check digits

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


_IBAN = re.compile(r"(?<![0-9A-Za-z])[A-Z]{2}[0-9]{2}(?: ?[0-9A-Z]{4}){2,7}(?: ?[0-9A-Z]{1,4})?(?![0-9A-Za-z])")


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


us_ssn = _numbers(r"(?<![\w-])[0-9]{3}-[0-9]{2}-[0-9]{4}(?![\w-])", check_digits.us_ssn, "national_id.us.value", "medium")
brazil_cpf = _numbers(
    r"(?<![\w.-])[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}(?![\w-])", check_digits.brazil_cpf, "national_id.br.value", "high"
)
belgium_nn = _numbers(
    r"(?<![\w.-])[0-9]{2}\.[0-9]{2}\.[0-9]{2}-[0-9]{3}\.[0-9]{2}(?![\w-])",
    check_digits.belgium_nn, "national_id.be.value", "high",
)  # fmt: skip
sweden_pnr = _numbers(
    r"(?<![\w.+-])(?:[0-9]{2})?[0-9]{6}[-+][0-9]{4}(?![\w.-])", check_digits.sweden_pnr, "national_id.se.value", "medium"
)
italy_cf = _numbers(
    r"(?<!\w)[A-Z]{6}[0-9]{2}[A-EHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z](?!\w)",
    check_digits.italy_cf, "national_id.it.value", "high",
)  # fmt: skip
france_nir = _numbers(
    r"(?<![\w.+-])[1-4] ?[0-9]{2} ?[0-9]{2} ?(?:[0-9]{2}|2[AB]) ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}(?![\w-])",
    check_digits.france_nir, "national_id.fr.value", "medium",
)  # fmt: skip
india_aadhaar = _numbers(
    r"(?<![\w.+-])[2-9][0-9]{3} [0-9]{4} [0-9]{4}(?! ?[\w-])",
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


_MRZ = re.compile(r"P[A-Z<][A-Z<]{3}[A-Z<]{39}\s{1,2}([A-Z0-9<]{9})([0-9<])[A-Z<]{3}([0-9]{6})([0-9])[MFX<]([0-9]{6})([0-9])")


def passport_mrz(text: str) -> Found:
    """The machine-readable zone of a passport (ICAO 9303, TD3) with number, birth and expiry checks."""
    for found in _MRZ.finditer(text):
        if all(check_digits.mrz_check(found[i], found[i + 1]) for i in (1, 3, 5)):
            yield "passport", "high", "passport.mrz.value"


# ---- telephone, birth, place

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


_GEO = re.compile(r"(?<![\w.,-])(-?[0-9]{1,2}\.[0-9]{4,15})°?[,;] ?(-?[0-9]{1,3}\.[0-9]{4,15})(?![\w]|[.,][0-9])")


def geo_pair(text: str) -> Found:
    """A latitude and a longitude with at least four decimals (eleven metres) each."""
    for found in _GEO.finditer(text):
        if abs(float(found[1])) <= 90 and abs(float(found[2])) <= 180:
            yield "geo_location", "medium", "geo.value"


# ---- credentials

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
    """AWS access key ids; AIDA, AROA and other unique ids name a principal and open nothing."""
    if _AWS_ID.search(text):
        yield "cloud_credential", "high", "aws_access_key.value"


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
    return lowered in value_tests.PLACEHOLDERS or set(value) <= set("*xX.•#-_%") or value.startswith(("$", "%", "{"))


_AUTHORIZATION = re.compile(r"\b(?:bearer [\w+/.~=-]{20,4000}|basic [0-9A-Za-z+/]{12,400}={0,2}(?![\w.]))", re.IGNORECASE)


def authorization(text: str) -> Found:
    """The value of an Authorization header (RFC 6750, RFC 7617)."""
    for found in _AUTHORIZATION.finditer(text):
        rest = found[0].split(" ", 1)[1]
        if any(map(str.isdigit, rest)) and not rest.islower():
            yield "api_key", "high", "authorization.value"
