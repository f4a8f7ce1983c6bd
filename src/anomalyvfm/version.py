"""The version that documents written to disk name, below all that writes them."""

__version__ = "0.1.0"
