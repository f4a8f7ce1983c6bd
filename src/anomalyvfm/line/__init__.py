"""At the line: where parts come from, what is known of them, and where verdicts go."""

TABLES = ("gate", "fields", "barcode", "shifts", "sources", "sinks")
"""The tables of a TOML file that are a line's; its other keys are a command's options."""

WATCH_TABLES = tuple(table for table in TABLES if table != "sources")
"""Those of a watch, whose one source is its folder."""
