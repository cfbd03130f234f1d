//! The parts of rows and of the legend: boxes, hills, and a shape for each kind of mark.

use super::canvas::{Canvas, Px};
use crate::observe::spans::MarkKind;

pub(super) fn draw_box(canvas: &mut Canvas, x: f64, y: f64, width: f64, height: f64, class: &str) {
    let [x, y, width, height] = [x, y, width, height].map(Px);
    canvas.shape(format_args!(
        "rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\""
    ));
}

/// Draws a sample for the legend.
pub(super) fn draw_hill(canvas: &mut Canvas, x: f64, y: f64, width: f64, height: f64) {
    let mut hill = Hill::new(y + height);
    let parts = [0.3, 0.6, 0.5, 0.9, 1.0, 0.7, 0.4];
    let column = width / 7.0;
    for (part, index) in parts.into_iter().zip(0_u32..) {
        hill.step(x + column * f64::from(index), height * part);
    }
    let path = hill.close(x + width);
    canvas.shape(format_args!("path class=\"w\" d=\"{path}\""));
}

/// Draws a diamond, a gravestone or a cross around this point.
pub(super) fn draw_mark(
    canvas: &mut Canvas,
    kind: MarkKind,
    x: f64,
    y: f64,
    size: f64,
    lines: &[String],
) {
    let half = size / 2.0;
    let [left, right, top, bottom] = [x - half, x + half, y - half, y + half].map(Px);
    let [x, y, half_x, half_px] = [x, y, half * 0.75, half].map(Px);
    let narrow = half * 0.75;
    let (class, path) = match kind {
        MarkKind::Retry => (
            "r",
            format!("M{left} {y}L{x} {top}L{right} {y}L{x} {bottom}Z"),
        ),
        MarkKind::DeadLetter => (
            "d",
            format!(
                "M{} {bottom}V{y}a{half_x} {half_px} 0 0 1 {} 0V{bottom}Z",
                Px(x.0 - narrow),
                Px(2.0 * narrow)
            ),
        ),
        MarkKind::Death => (
            "x",
            format!("M{left} {top}L{right} {bottom}M{left} {bottom}L{right} {top}"),
        ),
    };
    if kind == MarkKind::Death {
        // A white edge makes it stand out from the bar.
        canvas.shape(format_args!("path class=\"h\" d=\"{path}\""));
    }
    let attributes = format_args!("class=\"{class}\" d=\"{path}\"");
    match lines {
        [] => canvas.shape(format_args!("path {attributes}")),
        lines => canvas.told("path", attributes, lines),
    }
}

/// The outline of a figure that has a height in each column.
pub(super) struct Hill {
    base: f64,
    height: f64,
    path: String,
}

impl Hill {
    pub(super) fn new(base: f64) -> Self {
        Hill {
            base,
            height: 0.0,
            path: String::new(),
        }
    }

    /// Sets the height from here on. A change of less than half a pixel is not written.
    pub(super) fn step(&mut self, x: f64, height: f64) {
        let height = (height * 2.0).round() / 2.0;
        if self.path.is_empty() {
            self.path = format!("M{} {}", Px(x), Px(self.base));
        }
        if (height - self.height).abs() >= 0.5 {
            self.path += &format!("H{}V{}", Px(x), Px(self.base - height));
            self.height = height;
        }
    }

    pub(super) fn close(mut self, x: f64) -> String {
        self.path += &format!("H{}V{}Z", Px(x), Px(self.base));
        self.path
    }
}
