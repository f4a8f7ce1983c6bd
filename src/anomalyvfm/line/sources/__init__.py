"""Where a station's frames come from: cameras, recordings, and when a frame shows a part."""
