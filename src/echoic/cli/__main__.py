"""Runs the command line with ``python -m echoic.cli``."""

from echoic.cli import main

main()
