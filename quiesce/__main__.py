"""Run the command line by `python -m quiesce`."""

from orchestrator.entry import main

main()
