"""The command `atp`. What it can do stands in `atp.cli.table`, each command in a module of its own.

Every import here is paid by every call, so there is none that `atp --version` does not need.
"""

import sys

from atp import __version__


def main() -> None:
    """Run the command line; a setting that cannot be used ends it with exit code 2 and one line."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"atp {__version__}\n")
        return
    from atp.cli.table import cli
    from atp.engine.settings import SettingError

    try:
        cli.main(standalone_mode=True)
    except SettingError as error:
        sys.stderr.write(f"Error: {error}\n")
        sys.exit(2)
