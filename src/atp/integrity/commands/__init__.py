"""What integrity does: integrate and sign (`integration`), remember what was signed (`guard`), keys (`keys`)."""

from atp.integrity.commands.guard import Guard
from atp.integrity.commands.integration import Integrator, RolledBack
from atp.integrity.commands.keys import Signers, create_keys, ensure_keys, rotate_keys

__all__ = ["Guard", "Integrator", "RolledBack", "Signers", "create_keys", "ensure_keys", "rotate_keys"]
