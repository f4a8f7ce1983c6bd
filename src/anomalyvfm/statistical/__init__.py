"""v2: a Gaussian at every position, learned as sums that stream, merge and subtract."""
