"""What the benchmarks share: their table, the cost of processes, and a study of trivial units."""
