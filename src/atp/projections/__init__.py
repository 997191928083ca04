"""What is derived from the records: the loop that feeds read models, their checkpoints and what they could not take."""
