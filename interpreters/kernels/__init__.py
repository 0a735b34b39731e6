"""From a program's log density to machine code: what leans on the internals of torch's tracer and of Inductor."""
