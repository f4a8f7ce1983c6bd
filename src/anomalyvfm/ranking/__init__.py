"""A batch of images judged by itself, with no image known to be good: which are unlike the others."""
