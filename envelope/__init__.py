"""Save a model with one call; everything else is derived or configured."""
