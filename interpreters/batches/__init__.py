"""What a lockstep batch is made of: who asks the same, one message for all of them, and each one's part of the answer."""
