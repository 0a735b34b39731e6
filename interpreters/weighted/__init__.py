"""What importance sampling is made of: particles, their weights, and how many run at once."""
