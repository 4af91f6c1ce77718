//! `tidewire bench`
mod child;
mod process;
