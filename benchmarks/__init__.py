"""What the middleware costs, beside what its peers cost, in one run on one machine.

``python -m benchmarks`` measures the parts named in ``__main__`` and prints each figure with its ratio and its budget.
The rule of this room: absolute times give the scale, ratios within the run are judged, and what is judged is CPU time,
in interleaved rounds of which the median counts, so that a busy machine does not decide.
"""
