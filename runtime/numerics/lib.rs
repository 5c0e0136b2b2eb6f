//! Tensix numerics on the host.
