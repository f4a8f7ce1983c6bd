"""What the station keeps: rows in a database, images and maps as files."""
