//! SVG as text: shapes, numbers, and words cut to fit.
//!
//! There are no fonts to measure with, so widths are those of a wide font.

use std::fmt;

use crate::observe::words::grouped_by;

/// The colours of the main text, and of the text beside it.
pub(super) const INK: &str = "#1b2733";
pub(super) const GREY: &str = "#56626e";

/// The beginning of every sheet, by which a file is known to be one.
pub(crate) const BEGINNING: &str =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- a time chart by dishrack -->\n";

/// The system's own fonts.
const FONTS: &str = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Helvetica Neue', Arial, sans-serif";

#[derive(Debug, Clone, Copy)]
pub(super) struct Type {
    pub(super) size: f64,
    pub(super) anchor: &'static str,
    pub(super) colour: &'static str,
    pub(super) is_bold: bool,
    /// True if it has a white edge, for an uneven ground.
    pub(super) has_halo: bool,
}

impl Type {
    pub(super) const fn of(size: f64, colour: &'static str) -> Self {
        Type {
            size,
            anchor: "start",
            colour,
            is_bold: false,
            has_halo: false,
        }
    }

    pub(super) const fn anchored(self, anchor: &'static str) -> Self {
        Type { anchor, ..self }
    }

    pub(super) const fn bold(self) -> Self {
        Type {
            is_bold: true,
            ..self
        }
    }

    /// Returns the greatest width of a text in pixels.
    pub(super) fn width(self, text: &str) -> f64 {
        let ems: f64 = text.chars().map(ems).sum();
        let weight = if self.is_bold { 1.12 } else { 1.0 };
        ems * self.size * weight
    }

    /// Returns the text, or its beginning and its end around an ellipsis, at most this wide.
    /// Returns `None` if too little would be left.
    pub(super) fn fit(self, text: &str, width: f64) -> Option<String> {
        if self.width(text) <= width {
            return Some(text.to_owned());
        }
        let chars: Vec<char> = text.chars().collect();
        let cut = |left: usize| -> String {
            let (head, tail) = chars.split_at(left / 2);
            let tail = &tail[tail.len() - (left - left / 2)..];
            head.iter().chain(&['…']).chain(tail).collect()
        };
        let fits = |cut: &String| self.width(cut) <= width;
        (4..chars.len()).map(cut).take_while(fits).last()
    }
}

/// Returns the width of a character in a wide font, as a part of the font's size.
fn ems(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | '\'' | '|' => 0.31,
        ' ' | '.' | ',' | ':' | ';' | 'f' | 't' | 'r' | 'I' | '-' | '(' | ')' | '/' | '!' => 0.42,
        'm' | 'w' | 'M' | 'W' | '%' | '@' | '…' => 1.0,
        'A'..='Z' | '+' | '=' | '<' | '>' | '~' | '#' => 0.84,
        ' '..='~' => 0.65,
        // Scripts of wide characters, and pictures.
        '\u{1100}'.. => 1.1,
        _ => 0.75,
    }
}

/// A number of pixels, written to a tenth.
#[derive(Debug, Clone, Copy)]
pub(super) struct Px(pub(super) f64);

impl fmt::Display for Px {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 * 10.0).round() / 10.0;
        // Write neither -0 nor a value that is no number.
        if tenths == 0.0 || !tenths.is_finite() {
            return f.write_str("0");
        }
        write!(f, "{tenths}")
    }
}

/// Escapes a text for XML. Characters that XML forbids and control characters become visible ones.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            // The pictures of the control characters stand in their order.
            '\0'..' ' => escaped.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}')),
            '\u{7f}' => escaped.push('\u{2421}'),
            '\u{80}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            // They would change the direction of the text that follows, or be invisible.
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                escaped.push('\u{fffd}');
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// Returns a number with a comma between thousands.
pub(crate) fn grouped(number: u64) -> String {
    grouped_by(number, ',')
}

/// The drawing, from the back to the front.
#[derive(Debug, Default)]
pub(super) struct Canvas {
    body: String,
}

impl Canvas {
    /// Draws a shape without words. `shape` is an element's name and attributes.
    pub(super) fn shape(&mut self, shape: fmt::Arguments<'_>) {
        self.body += &format!("<{shape}/>\n");
    }

    /// Draws a shape that shows these lines when it is pointed at.
    pub(super) fn told(&mut self, element: &str, attributes: fmt::Arguments<'_>, lines: &[String]) {
        let lines: Vec<String> = lines.iter().map(|line| escaped(line)).collect();
        let title = lines.join("\n");
        self.body += &format!("<{element} {attributes}><title>{title}</title></{element}>\n");
    }

    pub(super) fn text(&mut self, x: f64, y: f64, style: Type, text: &str) {
        self.written(x, y, style, text, None);
    }

    /// Draws a text that shows more when it is pointed at.
    pub(super) fn text_told(&mut self, x: f64, y: f64, style: Type, text: &str, title: &str) {
        self.written(x, y, style, text, Some(title));
    }

    fn written(&mut self, x: f64, y: f64, style: Type, text: &str, title: Option<&str>) {
        let Type {
            size,
            anchor,
            colour,
            is_bold,
            has_halo,
        } = style;
        let mut attributes = String::new();
        if anchor != "start" {
            attributes += &format!(" text-anchor=\"{anchor}\"");
        }
        if is_bold {
            attributes += " font-weight=\"bold\"";
        }
        if has_halo {
            attributes += " class=\"o\"";
        }
        let title = title.map(|title| format!("<title>{}</title>", escaped(title)));
        self.body += &format!(
            "<text x=\"{}\" y=\"{}\" font-size=\"{}\" fill=\"{colour}\"{attributes}>{}{}</text>\n",
            Px(x),
            Px(y),
            Px(size),
            title.unwrap_or_default(),
            escaped(text),
        );
    }

    /// Returns the whole file. `definitions` are what the body refers to.
    pub(super) fn finish(self, width: f64, height: f64, title: &str, definitions: &str) -> String {
        let (width, height) = (Px(width), Px(height));
        format!(
            "{BEGINNING}\
             <svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"{FONTS}\" role=\"img\">\n\
             <title>{}</title>\n\
             <defs>\n{definitions}</defs>\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
             {}</svg>\n",
            escaped(title),
            self.body,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_in_a_name_is_text() {
        let all: String = (0..0x11_0000).filter_map(char::from_u32).collect();
        for text in [
            "<a b=\"&amp;\">'",
            "]]>",
            "\0\t\r\n\u{7f}\u{9f}\u{fffe}\u{ffff}",
            &all,
        ] {
            let file = format!("<a b=\"{0}\">{0}</a>", escaped(text));
            let parsed = roxmltree::Document::parse(&file).unwrap();
            let count = text.chars().count();
            assert_eq!(parsed.root_element().text().unwrap().chars().count(), count);
        }
        assert_eq!(escaped("a\tb"), "a␉b");
    }

    #[test]
    fn a_name_that_is_too_long_loses_its_middle() {
        let style = Type::of(10.0, "black");
        assert_eq!(style.fit("cup", 100.0), Some("cup".into()));
        let cut = style.fit("a rather long name of item 17", 80.0).unwrap();
        assert!(
            cut.starts_with("a ra") && cut.ends_with("17") && cut.contains('…'),
            "{cut}"
        );
        assert!(style.width(&cut) <= 80.0);
        assert_eq!(style.fit("a rather long name", 20.0), None);
        assert_eq!(style.fit("", 0.0), Some(String::new()));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(Px(12.04).to_string(), "12");
        assert_eq!(Px(-0.01).to_string(), "0");
        assert_eq!(Px(f64::NAN).to_string(), "0");
        assert_eq!(Px(0.26).to_string(), "0.3");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(999), "999");
    }
}
