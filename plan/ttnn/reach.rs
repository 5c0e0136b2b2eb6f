//! Tests of the rules' lists.
