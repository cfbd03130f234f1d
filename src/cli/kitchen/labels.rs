//! The words of the kitchen's pictures.

use std::time::Duration;

use super::options::DishConfig;
use crate::cli::config::Config;
use crate::cli::pictures;
use crate::observe::Mode;
use crate::observe::spans::{Labels, ProducerRow};

/// Returns the labels of a run.
pub(super) fn of_run(config: &Config, dishes: &DishConfig) -> Labels {
    let (one, many) = match config.mode {
        Mode::Processes => ("process", "processes"),
        Mode::Threads => ("thread", "threads"),
        Mode::Tasks => ("task", "tasks"),
        Mode::Sequential => ("person", "persons"),
    };
    let times = times(dishes.wash, dishes.dry);
    let what = pictures::items(config, "dish", "dishes");
    let title = format!("{what}, {}, {times}", pictures::workers(config, one, many));
    titled(config.mode, title)
}

/// Returns the times of a dish.
pub(super) fn times(wash: Duration, dry: Duration) -> String {
    let [wash, dry] = [wash, dry].map(|time| match time.is_zero() {
        true => "no time".into(),
        false => format!("{time:?}"),
    });
    format!("{wash} to wash, {dry} to dry")
}

/// Returns the labels with this title.
pub(super) fn titled(mode: Mode, title: String) -> Labels {
    // One person who does everything has one row.
    let name = match mode {
        Mode::Sequential => std::thread::current().name().unwrap_or("inline").to_owned(),
        Mode::Processes | Mode::Threads | Mode::Tasks => "washer".into(),
    };
    let doing = "Washing".into();
    Labels {
        title,
        producer: Some(ProducerRow { name, doing }),
        working: "Drying".into(),
        items: "dishes".into(),
    }
}
