"""Run within the limits of a Slurm job, and print batch scripts."""
