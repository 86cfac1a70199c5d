"""What tests share: real processes under hard limits, waits on real conditions, proof that nothing is left.

Nothing in here sleeps for luck. A helper either blocks on a descriptor, or looks at a real condition until a
deadline; when the deadline passes it raises `AssertionError` and says what it saw.
"""
