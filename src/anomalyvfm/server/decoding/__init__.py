"""Decoding of uploads in processes that may crash without harm."""
