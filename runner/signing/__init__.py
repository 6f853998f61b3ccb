"""Keys, keyrings, DSSE envelopes, signatures, and the policy by which a card is trusted."""
