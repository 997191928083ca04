"""Build step of the wheel: the contracts' parsed form travels along, so that an installed server starts as
quickly as one from a checkout, where the first start keeps it. Its name is the hash of what it was made from.
"""

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ContractsHook(BuildHookInterface):
    """Puts contracts/.cache/<hash>.json of exactly these contracts into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """An editable install reads the contracts where they are, so it needs nothing."""
        if version == "editable":
            return
        root = Path(self.root)
        sys.path.insert(0, str(root / "src"))
        from atp.specs import loading

        contracts = root / "contracts"
        loading.read(contracts)
        cache = loading.cache_file(contracts)
        build_data["force_include"][str(cache)] = f"atp/_contracts/.cache/{cache.name}"
