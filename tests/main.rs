//! The tests of the whole program, as one binary: linking it once is what takes the time.

mod architecture;
