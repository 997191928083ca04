"""The table of contents: contexts, their tables, handlers and loops, and which service runs what.

`open_platform` builds everything and changes nothing but schemas; `Platform.start` makes the first tenant and
starts the loops; `drain` and `stop` end it in the order in which work flows.
"""

from atp.app.parts import rotate_keys_at_rest
from atp.app.platform import Platform, open_platform

__all__ = ["Platform", "open_platform", "rotate_keys_at_rest"]
