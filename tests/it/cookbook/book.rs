//! The form of the cookbook. A recipe is a section (`## `) with commands: fenced blocks that are
//! marked `sh`. HTML comments hold the parts that a reader need not see:
//!
//! - `<!-- needs: gzip curl -->` names tools. If one is missing the recipe is not tried.
//! - `<!-- setup: ... -->` makes the commands' input.
//! - `<!-- check: ... -->` checks their results. At least one follows the last command.
//!
//! A block that is marked `text` after commands is their output, on stdout and stderr; `text in any
//! order` has its lines in any order. This file only reads; it runs nothing.

#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) recipes: Vec<Recipe>,
    faults: Vec<String>,
}

/// A section with commands.
#[derive(Debug, Default)]
pub(super) struct Recipe {
    pub(super) title: String,
    line: usize,
    pub(super) needs: Vec<String>,
    pub(super) steps: Vec<Step>,
}

/// The steps, in this order.
#[derive(Debug)]
pub(super) enum Step {
    Setup(String),
    /// Commands that the reader sees.
    Commands(String),
    /// The output of the commands before.
    Shown {
        lines: String,
        in_order: bool,
    },
    Check(String),
}

impl Recipe {
    /// Returns the title as the name of a test.
    pub(super) fn name(&self) -> String {
        let words = self.title.split(|c: char| !c.is_alphanumeric());
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        words.join("_").to_lowercase()
    }

    fn has_commands(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step, Step::Commands(_)))
    }

    fn is_checked(&self) -> bool {
        let steps = self.steps.iter().rev();
        let mut after = steps.take_while(|step| !matches!(step, Step::Commands(_)));
        after.any(|step| matches!(step, Step::Check(_)))
    }
}

impl Book {
    pub(super) fn parse(text: &str) -> Self {
        let mut book = Book::default();
        let mut section = Recipe::default();
        let mut lines = text.lines().zip(1..);
        while let Some((line, number)) = lines.next() {
            if let Some(title) = line.strip_prefix("## ") {
                let (title, line) = (title.to_owned(), number);
                let next = Recipe {
                    title,
                    line,
                    ..Recipe::default()
                };
                book.close(std::mem::replace(&mut section, next));
            } else if let Some(mark) = line.strip_prefix("```") {
                let (lines, is_ended) = until(&mut lines, |line| line == "```");
                book.expect(is_ended, number, "this block never ends");
                book.add_block(&mut section, number, mark, lines);
            } else if line.trim_start().starts_with("```") || line.starts_with("~~~") {
                book.expect(false, number, "this block is indented, or has no backticks");
            } else if let Some(first) = line.strip_prefix("<!--") {
                let (comment, is_ended) = match first.strip_suffix("-->") {
                    Some(whole) => (whole.to_owned(), true),
                    None => {
                        let (others, is_ended) = until(&mut lines, |line| line == "-->");
                        (format!("{first}\n{others}"), is_ended)
                    }
                };
                book.expect(is_ended, number, "this comment never ends");
                book.add_comment(&mut section, number, comment.trim_start());
            }
        }
        book.close(section);
        book
    }

    /// Returns its faults, with their lines.
    pub(super) fn faults(&self, recipes_min: usize) -> Vec<String> {
        let mut faults = self.faults.clone();
        let count = self.recipes.len();
        if count < recipes_min {
            faults.push(format!(
                "{count} recipes, at least {recipes_min} are wanted"
            ));
        }
        faults
    }

    fn expect(&mut self, is_so: bool, line: usize, fault: &str) {
        if !is_so {
            self.faults.push(format!("{line}: {fault}"));
        }
    }

    /// Ends a section. One without commands is prose.
    fn close(&mut self, section: Recipe) {
        let (line, title) = (section.line, &section.title);
        if section.has_commands() {
            let fault = format!("{title}: its last command has no check after it");
            self.expect(section.is_checked(), line, &fault);
            self.expect(line > 0, line, "there are commands before any recipe");
            let is_new = self.recipes.iter().all(|one| one.name() != section.name());
            self.expect(is_new, line, "there are two recipes of this name");
            self.recipes.push(section);
        } else {
            let fault = format!("{title}: there are comments or output, and no commands");
            self.expect(section.steps.is_empty(), line, &fault);
        }
    }

    fn add_block(&mut self, section: &mut Recipe, line: usize, mark: &str, lines: String) {
        let shown = |in_order| (section.has_commands(), in_order);
        let (is_of_commands, in_order) = match mark {
            "sh" => return section.steps.push(Step::Commands(lines)),
            "text" => shown(true),
            "text in any order" => shown(false),
            _ => {
                let fault = format!("`{mark}` is no mark: commands have `sh`, output has `text`");
                return self.expect(false, line, &fault);
            }
        };
        self.expect(is_of_commands, line, "this shows the output of nothing");
        section.steps.push(Step::Shown { lines, in_order });
    }

    fn add_comment(&mut self, section: &mut Recipe, line: usize, comment: &str) {
        let (kind, text) = comment.split_once(':').unwrap_or((comment, ""));
        self.expect(!text.trim().is_empty(), line, "this comment is empty");
        let has_fence = text.lines().any(|line| line.starts_with("```"));
        self.expect(
            !has_fence,
            line,
            "there is a block, ```sh or other, within this comment",
        );
        let text = text.to_owned();
        match kind {
            "needs" => section
                .needs
                .extend(text.split_whitespace().map(String::from)),
            "setup" => section.steps.push(Step::Setup(text)),
            "check" => {
                for check in text
                    .lines()
                    .map(str::trim)
                    .filter(|line| is_unfailing(line))
                {
                    self.expect(false, line, &format!("`{check}` cannot fail under `sh -e`"));
                }
                section.steps.push(Step::Check(text));
            }
            _ => self.expect(
                false,
                line,
                &format!("`{kind}` is no needs, setup or check"),
            ),
        }
    }
}

/// Returns `true` for lines whose failure `set -e` passes over.
fn is_unfailing(line: &str) -> bool {
    line.starts_with("! ") || line.contains(" && ") || line.contains(" || ")
}

/// Returns the lines before the one that ends them, and whether there was one.
fn until<'a>(
    lines: &mut impl Iterator<Item = (&'a str, usize)>,
    is_end: impl Fn(&str) -> bool,
) -> (String, bool) {
    let mut text = String::new();
    for (line, _) in lines {
        if is_end(line) {
            return (text, true);
        }
        text += line;
        text.push('\n');
    }
    (text, false)
}
