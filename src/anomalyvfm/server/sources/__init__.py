"""What the station fetches itself: frames of cameras, and files of folders that the line fills."""
