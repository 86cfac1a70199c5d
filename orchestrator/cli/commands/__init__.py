"""Runs of commands: `quiesce run [options] -- CMD ARG…` (docs/commands.md).

`parsing` finds the command among the words, `options` are those that only commands have, `lists` are the inputs of
`:::`, `task_names` the keys of tasks, `command_run` is what Runner needs to know of them, `printer` and `joblog` write
what commands wrote and how they ended, `resuming` compares inputs by their text.
"""
