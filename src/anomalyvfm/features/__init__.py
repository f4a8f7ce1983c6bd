"""From image files to patch embeddings: placing, light, the frozen backbone, and the store on disk."""
