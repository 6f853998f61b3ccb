"""Nouns, errors, canonical bytes and strict readers that every other room stands on."""
