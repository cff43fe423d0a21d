"""`emocaliber serve`: the same answers over HTTP."""
