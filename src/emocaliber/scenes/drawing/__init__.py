"""Draws synthetic scenes: concepts as simple shapes, composed into a picture and finished in a style."""
