"""`python -m orchestrator.cli`."""

from orchestrator.entry import main

main()
