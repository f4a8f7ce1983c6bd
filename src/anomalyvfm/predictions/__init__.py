"""What `predict` writes: a line an image, tables, maps, masks and pictures."""
