"""Faults injected into real runs from outside, and the proofs that nothing was lost and nothing is left.

- plan: a seed becomes a round: a mix of agents, workers, graces, and which faults come when
- agents: what runs inside: one agent that behaves as each task's kind says, and the truth about its result
- forgery: what an agent can do to the event pipe of its executor
- faults: what is done to a run from outside
- places, clock, fuse: where its journal lies: a disk that can be full, slow, read-only or hung; a wall clock that jumps
- truth: what the journal says, compared with what is known without quiesce
- round: one round from its start to its end, resumed until it is complete

`tests/chaos` plays single rounds of it, `scripts/soak` plays many.
"""
