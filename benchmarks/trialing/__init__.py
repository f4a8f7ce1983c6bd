"""Which scorer is best: features computed once, many ways to score them."""
