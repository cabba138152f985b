"""The arena: optimizers of this library and others on the same functions, every query counted, as COCO does it.

Hansen, Auger, Ros, Mersmann, Tusar, Brockhoff, "COCO: a platform for comparing continuous optimizers in a black-box
setting" (Optimization Methods and Software 36, 2021): runtimes in queries to targets, their distributions over
functions, instances and targets, and expected running times with restarts. `zopg bench --suite arena` runs it; what it
found is in `experiments/arena.md`.
"""
