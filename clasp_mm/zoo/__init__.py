"""From a run to a shared model: passport, index, loading, publishing."""
