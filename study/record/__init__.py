"""What happened in a study: its folder, its log, and the table of its runs."""
