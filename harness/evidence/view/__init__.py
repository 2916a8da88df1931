"""What happened in a run, on one page: made from the run's folder and result file alone."""
