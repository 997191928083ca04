"""What changes the record store: append (`ledger`), group commit (`appender`), keys and sealing (`vault`), erasing (`erasure`)."""

from atp.streams.commands.appender import Appender, Closing
from atp.streams.commands.erasure import erase_subject
from atp.streams.commands.ledger import Ledger
from atp.streams.commands.vault import Sealer, Vault
from atp.streams.rules import disclosure
from atp.streams.store.opened import SubjectKey, TenantVault

__all__ = [
    "Appender",
    "Closing",
    "Ledger",
    "Sealer",
    "SubjectKey",
    "TenantVault",
    "Vault",
    "disclosure",
    "erase_subject",
]
