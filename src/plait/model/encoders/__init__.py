"""Arrays to tokens: one modality per file, each with several encoders to choose from by name."""
