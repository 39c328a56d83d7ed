"""The science of the suite: one package per study, usable from a notebook without any run directory."""
