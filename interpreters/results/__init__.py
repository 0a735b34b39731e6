"""What a result is shown and saved as."""
