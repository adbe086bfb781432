"""What a person sees of a run: all of it read from the run directory, never from a model."""
