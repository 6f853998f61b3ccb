"""Names of the files in a run's folder; they are a contract."""

BUNDLE = "scorecard.sigstore.json"
CARD = "scorecard.json"
PREDICTIONS = "predictions.jsonl"
ENVIRONMENT = "environment.json"
SUBMISSION = "submission.yaml"
BENCHMARK = "benchmark.yaml"
