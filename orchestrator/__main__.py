"""Run the command line by `python -m orchestrator`."""

from orchestrator.entry import main

main()
