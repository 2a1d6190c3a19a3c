"""Live audio to text over WebSockets, on your own machine.

The names most users need: ``echoic.embed`` (the transcriber for your own service) and
``echoic.client`` (an async client of a running server).
"""

__version__ = "0.1.0"
