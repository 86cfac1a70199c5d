"""The parts around examples/llm.py: a server that answers as a language model's does, a client, three tools."""
