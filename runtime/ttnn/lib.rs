//! The TT-NN device.
