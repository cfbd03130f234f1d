//! The options about the page that is served for browsers, as they are typed.

use std::path::PathBuf;

use clap::Args;

use crate::WEB_ADDRESS;

/// The page of a run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options for the page")]
pub(in crate::cli) struct WebArgs {
    /// Serve a page that shows this run, and lets it be steered, to browsers [default: 127.0.0.1:8765]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = WEB_ADDRESS,
        value_parser = address, conflicts_with = "no_control")]
    pub(in crate::cli) web: Option<String>,

    #[command(flatten)]
    pub(in crate::cli) access: WebAccessArgs,
}

/// The rules of who may see the page.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options for the page")]
pub(in crate::cli) struct WebAccessArgs {
    /// Let only those in who have the token in this file; it is made if it does not exist, and said
    /// once. A second line `read-only TOKEN` is for those who may only look
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) web_token_file: Option<PathBuf>,

    /// Let nobody change anything by the page
    #[arg(long)]
    pub(in crate::cli) web_read_only: bool,

    /// A name by which browsers may ask for the page, beside addresses, localhost and the name of
    /// this machine
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) web_host: Vec<String>,
}

/// Reads an address: a port, a host, or both.
pub(in crate::cli) fn address(word: &str) -> Result<String, String> {
    let (default_host, default_port) = WEB_ADDRESS.split_once(':').unwrap_or_default();
    let is_port = |word: &str| word.parse::<u16>().is_ok();
    let is_bare = !word.contains(':') || word.ends_with(']');
    match word.rsplit_once(':') {
        _ if word.is_empty() => Err("it is empty: name HOST:PORT, or a port".into()),
        _ if is_port(word) => Ok(format!("{default_host}:{word}")),
        _ if is_bare => Ok(format!("{word}:{default_port}")),
        Some(("", port)) if is_port(port) => Ok(format!("{default_host}:{port}")),
        Some((_, port)) if is_port(port) => Ok(word.to_owned()),
        _ => Err(format!(
            "{word}: it is no address: name HOST:PORT, or a port"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_port_a_host_or_both() {
        let read = |word| address(word).ok();
        assert_eq!(read("9000").as_deref(), Some("127.0.0.1:9000"));
        assert_eq!(read(":9000").as_deref(), Some("127.0.0.1:9000"));
        assert_eq!(read("0.0.0.0").as_deref(), Some("0.0.0.0:8765"));
        assert_eq!(read("[::1]").as_deref(), Some("[::1]:8765"));
        assert_eq!(read("[::1]:80").as_deref(), Some("[::1]:80"));
        assert_eq!(read("box.lan:80").as_deref(), Some("box.lan:80"));
        assert_eq!(
            (read(""), read("box:http"), read("box:99999")),
            (None, None, None)
        );
    }
}
