//! The numbers for Prometheus, as the control API tells them; of several queues each with its label.

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap};

use super::answer::SharedSite;
use super::site::Sites;
use crate::control::client::NoAnswer;

/// Answers with the numbers of one queue.
pub(super) async fn of_one(State(site): SharedSite, headers: HeaderMap) -> Response {
    match site.run.metrics(accepted(&headers)).await {
        Ok((form, text)) => ([(CONTENT_TYPE, form)], text).into_response(),
        Err(why) => failure(&why),
    }
}

/// Answers with the numbers of all queues. What does not answer any more has none.
pub(super) async fn of_all(State(sites): State<Arc<Sites>>, headers: HeaderMap) -> Response {
    let (mut all, mut form, mut failed) = (MetricFamilies::default(), None, None);
    for site in &sites.queues {
        match site.run.metrics(accepted(&headers)).await {
            Ok((of_queue, text)) => {
                all.add(&site.run.name(), &String::from_utf8_lossy(&text));
                form = Some(of_queue);
            }
            Err(why) => failed = Some(why),
        }
    }
    match (form, failed) {
        (None, Some(why)) => failure(&why),
        (form, _) => ([(CONTENT_TYPE, form.unwrap_or_default())], all.to_string()).into_response(),
    }
}

fn accepted(headers: &HeaderMap) -> &str {
    let accepts = headers.get(ACCEPT);
    accepts
        .and_then(|accepts| accepts.to_str().ok())
        .unwrap_or_default()
}

fn failure(why: &NoAnswer) -> Response {
    (StatusCode::BAD_GATEWAY, format!("{why}\n")).into_response()
}

/// The metrics of several queues, each with the samples of all of them.
#[derive(Debug, Default)]
struct MetricFamilies {
    /// In the order in which they were told.
    all: Vec<MetricFamily>,
    /// OpenMetrics ends with a line that says so.
    end: Option<String>,
}

#[derive(Debug)]
struct MetricFamily {
    name: String,
    /// The lines that say what it is.
    about: Vec<String>,
    samples: String,
}

impl MetricFamilies {
    /// Adds the numbers of a queue, as Prometheus' text or OpenMetrics.
    fn add(&mut self, queue: &str, text: &str) {
        let mut at: Option<usize> = None;
        for line in text.lines() {
            let Some(comment) = line.strip_prefix("# ") else {
                if let Some(at) = at {
                    self.all[at].add_sample(queue, line);
                }
                continue;
            };
            match comment.split(' ').nth(1) {
                None => self.end = Some(line.to_owned()),
                Some(name) => {
                    let place = self.place_of(name);
                    self.all[place].describe(line);
                    at = Some(place);
                }
            }
        }
    }

    fn place_of(&mut self, name: &str) -> usize {
        let place = self.all.iter().position(|family| family.name == name);
        place.unwrap_or_else(|| {
            self.all.push(MetricFamily {
                name: name.to_owned(),
                about: Vec::new(),
                samples: String::new(),
            });
            self.all.len() - 1
        })
    }
}

impl MetricFamily {
    fn describe(&mut self, line: &str) {
        if !self.about.iter().any(|known| known == line) {
            self.about.push(line.to_owned());
        }
    }

    /// Adds a sample with the label of its queue.
    fn add_sample(&mut self, queue: &str, line: &str) {
        let queue = queue.replace('\\', "\\\\").replace('"', "\\\"");
        let queue = queue.replace('\n', "\\n");
        let end = line.find(['{', ' ']).unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        self.samples += &match rest.strip_prefix('{') {
            Some(labels) => format!("{name}{{queue=\"{queue}\",{labels}\n"),
            None => format!("{name}{{queue=\"{queue}\"}}{rest}\n"),
        };
    }
}

impl fmt::Display for MetricFamilies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for family in &self.all {
            for line in &family.about {
                writeln!(f, "{line}")?;
            }
            write!(f, "{}", family.samples)?;
        }
        match &self.end {
            Some(end) => writeln!(f, "{end}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_is_told_once_with_the_samples_of_all_queues() {
        let text = |count: u32| {
            format!(
                "# HELP items Items.\n# TYPE items gauge\nitems{{state=\"waiting\"}} {count}\n\
                 # HELP workers_wanted Workers.\n# TYPE workers_wanted gauge\nworkers_wanted 2\n# EOF\n"
            )
        };
        let mut all = MetricFamilies::default();
        all.add("mails", &text(1));
        all.add("odd \"name\"", &text(7));
        assert_eq!(
            all.to_string(),
            "# HELP items Items.\n# TYPE items gauge\nitems{queue=\"mails\",state=\"waiting\"} 1\n\
             items{queue=\"odd \\\"name\\\"\",state=\"waiting\"} 7\n\
             # HELP workers_wanted Workers.\n# TYPE workers_wanted gauge\n\
             workers_wanted{queue=\"mails\"} 2\nworkers_wanted{queue=\"odd \\\"name\\\"\"} 2\n# EOF\n"
        );
    }
}
