"""From records to weights: configuration, batches, losses, optimizers, checkpoints."""
