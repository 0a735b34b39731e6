"""The parts of ``interpreters.stepping``: answers, open and suspended runs, breakpoints, differences, saved runs."""
