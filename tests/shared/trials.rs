//! The lists of the tests in a module.

/// Lists a module's tests: each is a function that panics when it fails, or a name with `=>` and
/// the call that is all of it.
#[macro_export]
macro_rules! trials {
    ($($name:ident $(=> $call:expr)?),+ $(,)?) => {
        pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
            vec![$(
                libtest_mimic::Trial::test(
                    concat!(module_path!(), "::", stringify!($name)),
                    || { $crate::call_of!($name $(=> $call)?); Ok(()) },
                )
            ),+]
        }
    };
}

/// The call that a listed test is.
#[macro_export]
macro_rules! call_of {
    ($name:ident) => {
        $name()
    };
    ($name:ident => $call:expr) => {
        $call
    };
}
