"""Speed and memory against named peers: ours and theirs by turns in one run, medians, ratios."""
