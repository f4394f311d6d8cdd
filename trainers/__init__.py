"""One training run: a configuration in, metrics out."""
