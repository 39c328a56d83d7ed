"""The compiled kernels of fitted values: features, sums of embeddings, decoding, occupancy."""
