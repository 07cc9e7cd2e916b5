"""How networks are trained: losses, the training loop, checkpoints, and each chapter's recipe."""
