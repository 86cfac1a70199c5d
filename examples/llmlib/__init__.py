"""The parts of examples/llm.py: a server that answers as a language model's does, a client, two tools, commands."""
