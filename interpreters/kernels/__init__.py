"""From a program's log density to machine code: recorded, differentiated, written as C++; what leans on the internals of torch's tracer."""
