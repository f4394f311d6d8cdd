"""The images of a run: catalogued, prepared once into Arrow files, memory-mapped by every run."""
