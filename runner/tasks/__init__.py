"""Prompts and answers: data, templates, predictions, selection."""
