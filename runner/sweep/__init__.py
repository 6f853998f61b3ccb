"""Many submissions, one after the other: what is done is not done again, and one that fails stops no other."""
