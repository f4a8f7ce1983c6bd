"""Training of adapters on features computed beforehand."""
