"""Hostile bytes by the hour: `python -m tests.fuzz --minutes 60 --seed 1`."""
