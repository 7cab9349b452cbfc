"""Tables of the paper, and the proof: many systems trained and scored in one frame."""
