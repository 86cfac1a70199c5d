"""Takes its process with it at import."""

import os

os.write(2, b"libbroken.so: no such library\n")
os._exit(3)
