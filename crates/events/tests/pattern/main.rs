//! Patterns against events through the public face: tables with their sources, and properties.

mod invalid;
mod matching;
mod properties;
mod structure;
