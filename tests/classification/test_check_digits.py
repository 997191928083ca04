"""Check digits accept published examples and reject every change of one digit (CLS-01)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp.classification.rules import check_digits as checks

EXAMPLES = {
    checks.luhn: ["79927398713", "4111111111111111"],
    checks.payment_card: [
        "4111111111111111", "5500000000000004", "378282246310005", "6011111111111117", "3530111333300000", "30569309025904",
        "2223003122003222", "36227206271667", "6222021234567894", "4222222222222",
    ],
    checks.iban: ["GB82WEST12345698765432", "DE89370400440532013000", "FR1420041010050500013M02606", "NO9386011117947"],
    checks.israel_id: ["123456782", "000000018"],
    checks.spain_dni: ["12345678Z", "X1234567L", "Z1234567R", "00000000T"],
    checks.netherlands_bsn: ["111222333", "123456782"],
    checks.poland_pesel: ["44051401359", "02070803628"],
    checks.sweden_pnr: ["8112289874", "6709199530", "1212121212"],
    checks.france_nir: ["255081416802538", "185057800608491", "180092A05800131"],
    checks.brazil_cpf: ["52998224725", "11144477735"],
    checks.germany_idnr: ["86095742719", "47036892816", "65929970489"],
    checks.italy_cf: ["RSSMRA85T10A562S", "RSSMRA80A01H501U", "MRTMTT91D08F205J"],
    checks.india_aadhaar: ["234123412346", "999941057058"],
    checks.uk_nhs: ["9434765919", "9876543210", "4010232137"],
}  # fmt: skip


@pytest.mark.parametrize(("valid", "example"), [(v, e) for v, examples in EXAMPLES.items() for e in examples])
def test_published_examples_pass_and_no_single_digit_may_change(valid, example: str) -> None:
    assert valid(example)
    for place, old in enumerate(example):
        if old.isdecimal():
            changed = [example[:place] + new + example[place + 1 :] for new in "0123456789" if new != old]
            assert not any(map(valid, changed))


@given(st.integers(0, 10**13 - 1), st.integers(0, 15), st.integers(1, 9))
def test_no_valid_number_of_any_kind_survives_a_changed_digit(seed: int, place: int, step: int) -> None:
    """The same for numbers nobody published: made from a seed, completed by trying all check digits."""
    for valid, size in (
        (checks.luhn, 16), (checks.israel_id, 9), (checks.netherlands_bsn, 9), (checks.uk_nhs, 10), (checks.india_aadhaar, 12),
        (checks.poland_pesel, 11), (checks.sweden_pnr, 10), (checks.germany_idnr, 11),
    ):  # fmt: skip
        body = f"{seed:015d}"[-(size - 1) :].rjust(size - 1, "4")
        number = next((body + digit for digit in "0123456789" if valid(body + digit)), None)
        if number is not None:
            at = place % size
            assert not valid(number[:at] + str((int(number[at]) + step) % 10) + number[at + 1 :])


def test_the_brazilian_scheme_writes_remainder_ten_as_zero() -> None:
    """So a number with a zero as check digit may survive a changed digit: a weakness of the scheme itself."""
    number = "12345678909"
    assert checks.brazil_cpf(number)
    for place in range(11):
        for new in "0123456789":
            other = number[:place] + new + number[place + 1 :]
            if other != number and checks.brazil_cpf(other):
                assert other[9] == "0"


def test_belgian_numbers_tell_the_century_by_their_check() -> None:
    """A changed digit can only ever pass as a person of the other century, which the number cannot exclude."""
    number = "85073003328"
    assert checks.belgium_nn(number) and checks.belgium_nn("93051822361")
    for place in range(11):
        for new in "0123456789":
            other = number[:place] + new + number[place + 1 :]
            if other != number and checks.belgium_nn(other):
                assert 97 - int("2" + other[:9]) % 97 == int(other[9:])


@pytest.mark.parametrize(
    ("valid", "text"),
    [
        (checks.us_ssn, "000123456"), (checks.us_ssn, "666123456"), (checks.us_ssn, "987654321"), (checks.us_ssn, "123006789"),
        (checks.us_ssn, "123450000"), (checks.us_ssn, "12345678"), (checks.israel_id, "000000000"), (checks.netherlands_bsn, "000000000"),
        (checks.brazil_cpf, "11111111111"), (checks.uk_nhs, "0000000000"), (checks.germany_idnr, "06095742719"),
        (checks.germany_idnr, "12345678903"), (checks.india_aadhaar, "034123412346"), (checks.poland_pesel, "44991401359"),
        (checks.sweden_pnr, "8113289874"), (checks.belgium_nn, "85133003328"), (checks.france_nir, "955081416802538"),
        (checks.france_nir, "25508141680253X"), (checks.iban, "XX82WEST12345698765432"), (checks.italy_cf, "RSSMRA85T10A562"),
        (checks.payment_card, "1234567890123452"), (checks.sweden_pnr, "81122898"),
    ],
)  # fmt: skip
def test_what_no_issuer_gives_out_is_refused(valid, text: str) -> None:
    assert not valid(text)


def test_machine_readable_zones_check_by_weights() -> None:
    """The specimen of ICAO 9303 part 4."""
    assert (
        checks.mrz_check("L898902C3", "6")
        and checks.mrz_check("740812", "2")
        and checks.mrz_check("120415", "9")
    )
    assert not checks.mrz_check("L898902C4", "6") and checks.mrz_check("<<<<<<<<<", "<")
