"""The ways to ask that other tools already speak: System One's and OpenAI's decisions, and chat completions.

Each turns a request of its own form into the one question of this package, and the prediction back. `options` holds what they share: which
labels the options of a question stand for, and what the standard fields and ours (`x_...`) mean.
"""
