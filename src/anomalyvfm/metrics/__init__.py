"""What a score is worth: numpy in, numbers out."""
