"""Images of the suite: really built, really run."""
