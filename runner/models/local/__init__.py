"""Models on this machine's devices; the only room that imports torch, transformers and peft."""
