"""The command line: ``echoic``."""

import sys


def main() -> None:
    """Run the command that the program's arguments name; Ctrl-C leaves no trace, however early it comes."""
    try:
        from echoic.cli.program import run

        run()
    except KeyboardInterrupt:
        sys.exit(130)
