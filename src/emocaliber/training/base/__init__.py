"""Stage 0 and its vision pre-training, for small models trained from random weights."""
