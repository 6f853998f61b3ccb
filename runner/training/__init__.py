"""Train a model by a recipe, and leave a submission that can be evaluated."""
