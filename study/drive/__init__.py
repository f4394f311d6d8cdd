"""A study at work: sweeps and confirmations under Ray Tune, recorded as they run."""
