"""One repository for each noun. Each filters by owner or rater itself and returns frozen records."""
