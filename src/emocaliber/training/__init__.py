"""Training: the four stages, their configurations, and what they share."""
