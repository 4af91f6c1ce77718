//! What is damaged, or false, is refused.
