"""Where decisions happen: a world supplies data and log-probabilities, and knows no algorithm."""
