"""From recorded runs to scores, verdicts, table and figures."""
