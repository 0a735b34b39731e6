"""Factor graphs: what a program's log density is made of when its discrete sites are axes of tensors, and how they are summed out."""
