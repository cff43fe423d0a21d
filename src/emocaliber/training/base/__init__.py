"""What only small models trained from nothing need: stage 0 and its vision pre-training."""
