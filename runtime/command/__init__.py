"""The built-in agent that runs a command for each input (docs/commands.md).

Inside an executor: `agent` runs one command, `launch` starts it, `output_files` keeps what it writes, `family` finds
and ends its processes, `stopping` takes it down the ladder, `start_gate` delays starts. Pure, and shared with the
command line: `words` (replacement strings), `shell_words` (quoting), `spec` (what is to be run, and how), `record` (how
it ended).
"""
