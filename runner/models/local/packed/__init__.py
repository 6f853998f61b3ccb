"""Packed batches with shared prefixes: layout, attention, and the last layer where it is scored."""
