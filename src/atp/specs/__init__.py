"""The contracts as the program reads them: operations, validators and the error catalogue.

Everything comes from the documents under contracts/; nothing here repeats what they say. `load` gives the
operations, `atp.specs.schemas.validator` the event schemas, `atp.specs.errors.catalogue` the error codes.
"""

from atp.specs.operations import Operation, Parameter, RateLimit, Specification, load

__all__ = ["Operation", "Parameter", "RateLimit", "Specification", "load"]
