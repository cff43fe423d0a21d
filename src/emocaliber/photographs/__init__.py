"""Photographs as training data: what is known of them, views of them, and five-step reasoning about them. `lite` is trained so."""
