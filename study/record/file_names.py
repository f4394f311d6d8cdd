"""The names of the files in a study's folder that more than one room reads; `study.record.folder` says what each is."""

STUDY_FILE = "study.json"
LOG_FILE = "log.jsonl"
JOURNAL_FILE = "optuna.journal"
DATABASE_FILE = "mlflow.db"
RESULTS_FILE = "results.parquet"
PREDICTIONS_FILE = "predictions.parquet"
VERDICTS_FILE = "verdicts.json"
