"""A study's report: one HTML file that can be sent to anyone, and the same in Markdown, made from the records alone."""
