"""Read the inputs of `quiesce run`: files, streams and folders, in several formats.

`input_sources` finds what --input names, `formats` chooses how it is read, a module for each format reads it, and
`input_set` makes tasks of it.

*Theory.* A reader of a format is a generator over the bytes of one file or stream. It yields an Entry for each input,
and None before it waits for more bytes: whatever it has yielded can be handed in then. So a program may write one line
and wait for the outcome of its task, and a file of any size costs no memory.
"""
