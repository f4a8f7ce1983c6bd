"""Pictures of verdicts: overlays, panels, contact sheets."""
