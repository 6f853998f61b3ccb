"""What is asked and what was answered: data, prompts, predictions, answers."""
