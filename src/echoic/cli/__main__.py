"""``python -m echoic.cli``: the command line."""

from echoic.cli import main

main()
