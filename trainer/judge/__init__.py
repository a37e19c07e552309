"""Which of a run's files is the best: when it is judged, by what, and what follows from it."""
