"""The scorecard: computed from predictions and votes, verified, recomputed, compared."""
