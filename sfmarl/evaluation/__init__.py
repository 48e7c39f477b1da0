"""Trained policies at work: acting on raw observations, whole episodes, scores with intervals."""
