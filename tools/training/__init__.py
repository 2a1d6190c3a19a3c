"""Training of the tiny Parakeet that the tests listen with."""
