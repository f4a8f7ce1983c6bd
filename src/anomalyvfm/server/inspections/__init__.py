"""From an image that comes in to the record of its verdict."""
