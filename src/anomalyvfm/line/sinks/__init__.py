"""Where verdicts go: a file a kind."""
