"""Drawing scenes: every concept as simple shapes, put together into a picture."""
