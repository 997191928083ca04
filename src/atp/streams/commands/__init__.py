"""What changes the record store: append (`ledger`), group commit (`appender`), keys and sealing (`vault`)."""

from atp.streams.commands.appender import Appender, Closing
from atp.streams.commands.ledger import Ledger
from atp.streams.commands.vault import Sealer, TenantVault, Vault

__all__ = ["Appender", "Closing", "Ledger", "Sealer", "TenantVault", "Vault"]
