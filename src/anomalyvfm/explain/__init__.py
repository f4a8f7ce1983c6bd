"""Why a region is odd: which layers contribute, and which good patch is most like it."""
