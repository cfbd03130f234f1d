//! The lists of the tests in a module.

/// Lists a module's tests: each is a function that panics when it fails.
#[macro_export]
macro_rules! trials {
    ($($name:ident),+ $(,)?) => {
        pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
            vec![$(
                libtest_mimic::Trial::test(
                    concat!(module_path!(), "::", stringify!($name)),
                    || { $name(); Ok(()) },
                )
            ),+]
        }
    };
}
