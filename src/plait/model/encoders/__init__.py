"""Arrays to tokens: one modality a file, each with several encoders to choose from by name."""
