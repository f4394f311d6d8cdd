"""Where a training step's memory goes: measured, predicted without running, and checked between steps."""
