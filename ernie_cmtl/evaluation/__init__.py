"""What a trained run is worth."""
