"""What hmc and nuts share: the chains, their memory and randomness, and the algorithm in its native and its batched form."""
