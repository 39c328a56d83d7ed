"""The compiled kernels: transitions, expansion of levels, backward rows, probabilities along the chain."""
