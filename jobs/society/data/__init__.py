"""Tables that the study ships: personas, probes, contrast items, steering layers."""
