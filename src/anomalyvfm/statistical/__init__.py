"""v2: Gaussians of places at each scale, learned as sums that stream, merge and subtract."""
