"""The models of a station: a registry of versions, each a folder."""
