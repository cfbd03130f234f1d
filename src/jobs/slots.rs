//! PURE: the slots of a run: things of which each command that runs has one for itself, as a GPU or a
//! licence. It does not know who hands them out: that is a number, and this says what it stands for.

use serde::{Deserialize, Serialize};

/// Slots of one kind: a name, and what each number stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SlotKind {
    pub(crate) name: String,
    /// The variable by which a command is told.
    pub(crate) variable: String,
    /// The things that the numbers from 1 on stand for.
    values: Vec<String>,
}

/// The name of the kind whose slots CUDA is told of.
const GPU: &str = "gpu";

/// The variable by which CUDA is told.
const CUDA: &str = "CUDA_VISIBLE_DEVICES";

impl SlotKind {
    /// Reads `gpu=0,1,2,3`, or `gpu:2=0,1,2,3` where each command gets two of them.
    ///
    /// # Errors
    /// It is none; the error says what is expected.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        const EXPECTED: &str =
            "expected NAME=VALUE,VALUE..., or NAME:N=... for N of them at a time";
        let (kind, values) = text.split_once('=').ok_or(EXPECTED)?;
        let (name, each) = kind.split_once(':').unwrap_or((kind, "1"));
        let each: usize = each.parse().ok().filter(|n| *n > 0).ok_or(EXPECTED)?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(format!(
                "{name:?} is no name: letters, digits, - and _ make one"
            ));
        }
        let values: Vec<&str> = values.split(',').collect();
        if values.iter().any(|value| value.is_empty()) {
            return Err(EXPECTED.into());
        }
        if let Some(twice) = (1..values.len()).find(|at| values[..*at].contains(&values[*at])) {
            return Err(format!("{} stands there twice", values[twice]));
        }
        if each > values.len() {
            return Err(format!("there are no {each} of {}", values.len()));
        }
        if !values.len().is_multiple_of(each) {
            let count = values.len();
            return Err(format!(
                "{count} cannot be given {each} at a time: some would be left over"
            ));
        }
        let together = values.chunks_exact(each).map(|some| some.join(","));
        let in_capitals = name.to_ascii_uppercase().replace('-', "_");
        Ok(SlotKind {
            name: name.to_owned(),
            variable: format!("SUPERVISOR_SLOT_{in_capitals}"),
            values: together.collect(),
        })
    }

    /// Returns the number of commands that can have one at the same time.
    fn count(&self) -> usize {
        self.values.len()
    }

    /// Returns what a number from 1 on stands for.
    pub(crate) fn value(&self, number: u16) -> &str {
        let place = usize::from(number).checked_sub(1);
        let value = place.and_then(|place| self.values.get(place));
        value.map_or("", String::as_str)
    }

    /// Returns the variables by which a command is told what it has.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        let cuda = (self.name == GPU).then_some(CUDA);
        cuda.into_iter().chain([self.variable.as_str()])
    }
}

/// Returns the number of commands that may run at the same time, if each has one of every kind.
pub(crate) fn at_once(kinds: &[SlotKind]) -> Option<u32> {
    let fewest = kinds.iter().map(SlotKind::count).min()?;
    Some(u32::try_from(fewest).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_its_name_and_what_its_numbers_stand_for() {
        let gpus = SlotKind::parse("gpu=0,1,2").unwrap();
        assert_eq!((gpus.count(), gpus.value(1), gpus.value(3)), (3, "0", "2"));
        let names: Vec<_> = gpus.variables().collect();
        assert_eq!(names, ["CUDA_VISIBLE_DEVICES", "SUPERVISOR_SLOT_GPU"]);
        let pairs = SlotKind::parse("gpu:2=0,1,2,3").unwrap();
        assert_eq!((pairs.count(), pairs.value(2)), (2, "2,3"));
        let licences = SlotKind::parse("lic-x=a").unwrap();
        let names: Vec<_> = licences.variables().collect();
        assert_eq!(names, ["SUPERVISOR_SLOT_LIC_X"]);
        assert_eq!((licences.value(0), licences.value(2)), ("", ""));
    }

    #[test]
    fn what_is_no_kind_is_refused() {
        for text in [
            "", "gpu", "=0", "gpu=", "gpu=0,", "gpu=0,,1", "gpu:0=0", "gpu:x=0", "g u=0",
        ] {
            assert!(SlotKind::parse(text).is_err(), "{text}");
        }
        let why = |text| SlotKind::parse(text).unwrap_err();
        assert_eq!(why("gpu=0,1,0"), "0 stands there twice");
        assert_eq!(why("gpu:3=0,1"), "there are no 3 of 2");
        assert!(why("gpu:2=0,1,2").contains("some would be left over"));
    }
}
