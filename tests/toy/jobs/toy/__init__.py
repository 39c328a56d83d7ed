"""A study that is all machinery: a search, late units, a chain of levels, a long unit, an index result."""
