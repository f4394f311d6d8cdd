"""What a study's records disagree on, and how they are brought together again."""
