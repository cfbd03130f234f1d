//! The form of dishes on a stream: the fields that any item of the command line has, and two more.
//!
//! | field | value |
//! | --- | --- |
//! | `dry` | the time to dry it, in seconds; the dryer decides if it is not given |
//! | `padding` | the number of extra bytes |

use std::time::Duration;

use serde_bytes::ByteBuf;

use crate::cli::args;
use crate::cli::layout::{ITEM_TYPE, item_of, serialized, text_of};
use crate::kitchen::Dish;
use dishrack_core::stream::entry::{Fields, Layout};

/// The largest padding that a worker makes for an entry in Redis.
pub(super) const REDIS_PAYLOAD_MAX: usize = 499_000_000;

/// The form of dishes on a stream.
#[derive(Debug)]
pub(super) struct DishText {
    /// The time to dry a dish that has none of its own.
    pub(super) dry: Duration,
    /// True if the dishes that are put here get this time.
    pub(super) tells_dry: bool,
}

impl Layout for DishText {
    fn item_type(&self) -> &str {
        ITEM_TYPE
    }

    fn fields(&self, body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let Ok(dish) = postcard::from_bytes::<Dish>(body) else {
            return vec![("item", body.to_vec())];
        };
        let mut fields = vec![("item", dish.name.into_bytes())];
        if self.tells_dry {
            let seconds = dish.dry.as_secs_f64().to_string();
            fields.push(("dry", seconds.into_bytes()));
        }
        if !dish.padding.is_empty() {
            let bytes = dish.padding.len().to_string();
            fields.push(("padding", bytes.into_bytes()));
        }
        fields
    }

    fn body(&self, fields: &Fields) -> Result<Vec<u8>, String> {
        let name = String::from_utf8(item_of(fields)?);
        let name = name.map_err(|_| "its text is not UTF-8, so it is no dish")?;
        let dry = match text_of(fields, "dry")? {
            None => self.dry,
            Some(text) => {
                args::duration(text).map_err(|why| format!("its field `dry` is {text:?}: {why}"))?
            }
        };
        let padding = match text_of(fields, "padding")? {
            None => 0,
            Some(text) => text
                .parse()
                .ok()
                .filter(|bytes| *bytes <= REDIS_PAYLOAD_MAX)
                .ok_or_else(|| {
                    format!("its field `padding` is {text:?}, and no number of bytes")
                })?,
        };
        serialized(&Dish {
            name,
            dry,
            padding: ByteBuf::from(vec![0; padding]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fields: &[(&str, &[u8])]) -> Fields {
        let owned = fields
            .iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec()));
        Fields(owned.collect())
    }

    fn dishes() -> DishText {
        DishText {
            dry: Duration::from_secs(2),
            tells_dry: true,
        }
    }

    fn read(layout: &impl Layout, given: &[(&str, &[u8])]) -> Result<Vec<u8>, String> {
        layout.body(&fields(given))
    }

    #[test]
    fn a_dish_that_only_has_a_name_takes_the_time_of_whoever_dries_it() {
        let body = read(&dishes(), &[("item", b"cup")]).unwrap();
        let cup: Dish = postcard::from_bytes(&body).unwrap();
        assert_eq!((&*cup.name, cup.dry), ("cup", Duration::from_secs(2)));
        assert!(cup.padding.is_empty());
    }

    #[test]
    fn dishes_come_back_as_they_were() {
        let cup = Dish {
            name: "cup".into(),
            dry: Duration::from_millis(250),
            padding: ByteBuf::from(vec![0; 7]),
        };
        let written = dishes().fields(&serialized(&cup).unwrap());
        assert_eq!(written[1], ("dry", b"0.25".to_vec()));
        let given: Vec<(&str, &[u8])> = written.iter().map(|(n, v)| (*n, &**v)).collect();
        let body = read(&dishes(), &given).unwrap();
        assert_eq!(postcard::from_bytes::<Dish>(&body).unwrap(), cup);
    }

    #[test]
    fn what_is_no_dish_is_told_in_words() {
        type Given<'a> = &'a [(&'a str, &'a [u8])];
        let cases: [(Given, &str); 5] = [
            (&[("colour", b"red")], "it has no field `item`"),
            (&[("item", b"\xff")], "its text is not UTF-8"),
            (
                &[("item", b"a"), ("dry", b"soon")],
                "its field `dry` is \"soon\"",
            ),
            (
                &[("item", b"a"), ("dry", b"\xff")],
                "its field `dry` is no text",
            ),
            (&[("item", b"a"), ("padding", b"-1")], "`padding` is \"-1\""),
        ];
        for (given, expected) in cases {
            let why = read(&dishes(), given).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }
}
