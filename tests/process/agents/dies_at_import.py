"""Takes its process with it at import."""

import os

os._exit(3)
