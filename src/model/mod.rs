//! Learned energies u_θ(x, t).
