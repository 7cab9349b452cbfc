"""``xtcocotools`` where it is not installed: its rules, scored by pycocotools."""

clasp_mm_evaluation = True
