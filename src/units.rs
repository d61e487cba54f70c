//! Physical units at the edge of the library.
