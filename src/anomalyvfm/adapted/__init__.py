"""v1.1 to v1.4: features adapted against synthetic defects, and one Gaussian for all of them."""
