//! Markov kernels and algorithms along a path of potentials.
