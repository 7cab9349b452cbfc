"""The figures and tables of the paper about a model: one file each."""
