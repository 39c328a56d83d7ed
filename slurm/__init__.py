"""Submission to Slurm: generated batch scripts, a run as a chain of dependent arrays, healing and watching."""
