"""An evaluation's report as files: figures, a summary in plain text, and one page that shows it all."""
