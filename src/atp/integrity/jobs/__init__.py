"""The loops of integrity: integration of what was committed, verification runs, the self-audit."""

from atp.integrity.jobs.integration import Advances, IntegrationLoop
from atp.integrity.jobs.verification import VerificationLoop

__all__ = ["Advances", "IntegrationLoop", "VerificationLoop"]
