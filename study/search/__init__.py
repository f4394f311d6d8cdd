"""How configurations are chosen: Optuna's sampler, journal and early stopping."""
