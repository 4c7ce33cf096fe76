"""The model in torch: encoders, fusion, heads, decoders."""
