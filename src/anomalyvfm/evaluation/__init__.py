"""What a detector is worth: on a category, and beside other pipelines."""
