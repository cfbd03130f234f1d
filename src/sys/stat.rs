//! The lines of `/proc/PID/stat` (proc_pid_stat(5)).

/// Returns the fields of a line behind the name: the state, the parent, the process group, and so on; none
/// if it is no such line. The name may have any characters, brackets among them.
pub(crate) fn fields_behind_name(line: &str) -> impl Iterator<Item = &str> {
    let behind = line.rsplit_once(") ").map(|(_, behind)| behind.split(' '));
    behind.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_the_end_of_one() {
        let fields = |line| fields_behind_name(line).collect::<Vec<_>>();
        assert_eq!(fields("7 (a) b) c) S 1 42"), ["S", "1", "42"]);
        assert!(fields("").is_empty());
    }
}
