"""What changes the record store: append (`ledger`), group commit (`appender`), keys and sealing (`vault`)."""

from atp.streams.commands.appender import Appender
from atp.streams.commands.ledger import Ledger
from atp.streams.commands.vault import Sealer, TenantVault, Vault

__all__ = ["Appender", "Ledger", "Sealer", "TenantVault", "Vault"]
