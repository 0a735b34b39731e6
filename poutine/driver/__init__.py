"""The only driver of generators. Outside of this room no file calls ``send``, ``throw`` or ``close``.

1. A message goes up through the poutines around the program that yielded it, innermost first, and out to the runtime; its site comes
   down the same way. A program is sent the value, a poutine the site.
2. Programs are driven from an explicit stack of frames, so that depth costs memory and not recursion.
3. Every generator that is started is closed, on every path, innermost first.
4. An error from outside (a poutine further out, the runtime) is thrown into the program at its yield. Nobody between
   there and the place that it came from may swallow it: the run is poisoned, and it is raised again at the next yield.
   A second swallow closes the generator. Outside the place that it came from, it is an ordinary exception.
5. A program's own exception goes to whoever ran the program, unchanged.
"""
