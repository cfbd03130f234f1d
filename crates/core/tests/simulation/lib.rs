//! Nothing: the simulator is the test `simulation` of this package, see `main.rs` beside it. It is a package of
//! its own because Cargo optimises whole packages, and no other test gains what that takes to compile.
