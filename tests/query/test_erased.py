"""Reading a record whose subject was erased: every absence says which record explains it (INT-09)."""

from atp.kernel.ids import TenantId
from atp.streams.commands.erasure import erase_subject
from atp.web.principal import Clearance
from tests.query.test_api import House, house  # noqa: F401 - the fixture

SYSTEM = {"type": "system", "id": "test"}


def test_an_erased_value_names_the_record_that_explains_it(house: House) -> None:  # noqa: F811
    """INT-09: after an erasure the values are gone, the record stands, and its absences are explained."""
    receipt = house.send(1)
    vault = house.edge.books.vault.tenant(TenantId("demo"))
    ref = vault.subject_ref("user", "u-1")
    why = house.edge.database.write_now(
        lambda c: erase_subject(
            c, house.edge.books.ledger, TenantId("demo"), ref=ref, reason="asked", actor=SYSTEM
        )
    )
    assert why is not None
    answer = house.edge.as_("admin", clearance=Clearance.SECRET).call(
        "getAuditEvent", path={"id": receipt["id"]}, query={"disclose": "true"}
    )
    assert answer.json["absences"] == [
        {"field": "/actor/email", "reason": "erased", "explainedBy": why.position}
    ]
