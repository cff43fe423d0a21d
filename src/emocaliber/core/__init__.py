"""What all other packages build on: the question, the five-step response and its parser, samples and tasks, scoring, confidence sources."""
