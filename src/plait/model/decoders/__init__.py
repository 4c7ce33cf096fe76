"""From the fused vector back to cells."""
