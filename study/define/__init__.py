"""What a study is: its file, its settings, its cells and what they will take."""
