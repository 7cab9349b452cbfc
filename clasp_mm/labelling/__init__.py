"""Labels for a data set by CLIP: made, reported on, and judged."""
