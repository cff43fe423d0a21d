"""Images in, emotions and confidence out."""
