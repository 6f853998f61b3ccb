"""The walk from two YAML files to a signed scorecard; read `evaluate.py` first."""
