//! Everything that needs more than one room at a time, in one binary.

mod click;
mod dialogs;
mod faults;
mod rig;
mod store;
