"""`emocaliber serve`: the same answers over HTTP. Nothing here is imported before the command runs, and importing it loads no web library."""
