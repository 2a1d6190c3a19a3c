"""The command line program ``echoic``."""

import sys


def main() -> None:
    """Run the command in ``sys.argv``; Ctrl-C during imports exits without a traceback."""
    try:
        from echoic.cli.program import run

        run()
    except KeyboardInterrupt:
        sys.exit(130)
