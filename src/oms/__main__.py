"""`python -m oms`."""

from oms.entrypoints.cli import main

main()
