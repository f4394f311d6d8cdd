"""MLflow as a view on a study, delivered from its log; nothing is read from here."""
