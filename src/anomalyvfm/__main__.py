"""`python -m anomalyvfm` is the command."""

from anomalyvfm.cli import run

run()
