"""What integrity does: integrate and sign (`integration`), remember what was signed (`guard`), keys (`keys`)."""

from atp.integrity.commands.guard import Guard
from atp.integrity.commands.integration import Integrator
from atp.integrity.commands.keys import create_keys, open_signers, rotate_keys

__all__ = ["Guard", "Integrator", "create_keys", "open_signers", "rotate_keys"]
