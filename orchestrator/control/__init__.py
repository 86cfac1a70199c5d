"""The control socket of a living run: what another process of the same user may ask, and how it is answered.

`protocol` has the records (pure), `address` the places of sockets, `server` the thread in the supervisor, `client` the
other side. The run does not depend on any of it: without a socket, requests travel through the journal.
"""
