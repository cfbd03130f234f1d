//! The cookbook, `docs/cookbook.md`: every command in it is run as it stands there, and must print
//! what the cookbook shows. `book` knows the form of recipes, `kitchen` runs them.

mod book;
mod kitchen;

use std::fs;
use std::path::Path;

use libtest_mimic::{Completion, Trial};

use book::{Book, Recipe};
use kitchen::{cook, missing_tools};

crate::timely_trials! {
    every_command_of_the_cookbook_is_in_a_recipe_with_a_check,
    a_faultless_book_has_no_faults,
    a_block_that_nobody_runs_is_caught,
    a_recipe_without_a_check_is_caught,
    a_check_that_cannot_fail_is_caught,
    too_few_recipes_are_caught,
    a_faultless_recipe_passes,
    a_wrong_output_is_caught,
    a_failing_step_is_caught,
    a_check_that_is_never_reached_is_caught,
    a_recipe_that_hangs_is_ended,
    a_missing_tool_is_named,
}

/// The least number of recipes in the cookbook.
const RECIPES_MIN: usize = 10;

fn read() -> Book {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cookbook.md");
    Book::parse(&fs::read_to_string(path).expect("docs/cookbook.md is readable"))
}

/// One test for each recipe.
pub(crate) fn recipes() -> Vec<Trial> {
    let trial = |recipe: Recipe| {
        let name = format!("cookbook::recipe::{}", recipe.name());
        Trial::ignorable_test(name, move || try_recipe(&recipe))
    };
    read().recipes.into_iter().map(trial).collect()
}

fn try_recipe(recipe: &Recipe) -> Result<Completion, libtest_mimic::Failed> {
    let missing = missing_tools(&recipe.needs);
    if missing.is_empty() {
        cook(recipe, kitchen::TIME)?;
        return Ok(Completion::Completed);
    }
    let why = format!("{} is not installed", missing.join(", "));
    #[expect(clippy::print_stderr, reason = "nobody should take it for tried")]
    {
        eprintln!("skipped: the recipe {:?}, as {why}", recipe.title);
    }
    Ok(Completion::ignored_with(why))
}

fn every_command_of_the_cookbook_is_in_a_recipe_with_a_check() {
    let faults = read().faults(RECIPES_MIN);
    assert!(
        faults.is_empty(),
        "docs/cookbook.md:\n{}",
        faults.join("\n")
    );
}

const FAULTLESS: &str = "\
# Book

## Words

Prose.

## Say *hello*, and `hi`

<!-- needs: cat -->
<!-- setup:
printf 'hello\\n' >greeting
-->

```sh
cat greeting
echo 'it took 0.123 s (pid 7)'
```

prints

```text
hello
it took 9.876 s (pid 42)
```

<!-- check:
grep -q hello \"$shown\"
-->

```sh
printf 'b\\na\\n'
```

```text in any order
a
b
```

<!-- check: test -s greeting -->
";

/// Returns the faults of a book in which `part` is replaced.
fn faults_with(part: &str, replacement: &str) -> String {
    assert!(FAULTLESS.contains(part), "{part:?}");
    let book = FAULTLESS.replacen(part, replacement, 1);
    Book::parse(&book).faults(1).join("\n")
}

fn is_caught(cases: &[(&str, &str, &str)]) {
    for (part, replacement, fault) in cases {
        let faults = faults_with(part, replacement);
        assert!(
            faults.contains(fault),
            "{part:?}, {replacement:?}: {faults:?}"
        );
    }
}

fn a_faultless_book_has_no_faults() {
    assert_eq!(faults_with("Prose", "More prose"), "");
    let recipes = Book::parse(FAULTLESS).recipes;
    assert_eq!(recipes.len(), 1);
    assert_eq!(recipes[0].name(), "say_hello_and_hi");
    assert_eq!(recipes[0].needs, ["cat"]);
}

fn a_block_that_nobody_runs_is_caught() {
    is_caught(&[
        ("Prose.", "```bash\nls\n```", "5: `bash`"),
        ("Prose.", "```\nls\n```", "5: ``"),
        ("Prose.", "  ```sh\n  ls\n  ```", "is indented"),
        ("# Book\n", "# Book\n```sh\nls\n```\n", "before any recipe"),
        ("a\nb\n```\n", "a\nb\n", "never ends"),
        ("-->\n\n```sh", "\n\n```sh", "```sh"),
        ("setup:", "set-up:", "`set-up`"),
        ("Prose.", "```text\nls\n```", "shows the output of nothing"),
    ]);
}

fn a_recipe_without_a_check_is_caught() {
    is_caught(&[
        (
            "Prose.",
            "```sh\nls\n```",
            "Words: its last command has no check",
        ),
        ("<!-- check: test -s greeting -->", "", "has no check"),
        (
            "<!-- check: test -s greeting -->",
            "<!-- check: -->",
            "is empty",
        ),
    ]);
}

fn a_check_that_cannot_fail_is_caught() {
    is_caught(&[
        ("grep -q", "! grep -q", "cannot fail"),
        ("grep -q", "true && grep -q", "cannot fail"),
        ("grep -q hello \"$shown\"", "true || false", "cannot fail"),
    ]);
}

fn too_few_recipes_are_caught() {
    let faults = Book::parse(FAULTLESS).faults(2);
    assert_eq!(faults, ["1 recipes, at least 2 are wanted"]);
}

/// Tries the recipe of a book in which `part` is replaced.
fn cook_with(part: &str, replacement: &str) -> Result<(), String> {
    assert!(FAULTLESS.contains(part), "{part:?}");
    let book = FAULTLESS.replacen(part, replacement, 1);
    cook(&Book::parse(&book).recipes[0], kitchen::TIME)
}

fn a_faultless_recipe_passes() {
    cook_with("Prose", "More prose").unwrap();
}

fn a_wrong_output_is_caught() {
    let why = cook_with("printf 'hello", "printf 'hello, hello").unwrap_err();
    assert!(
        why.contains("-hello\n") && why.contains("+hello, hello\n"),
        "{why}"
    );
    let why = cook_with("```text in any order", "```text").unwrap_err();
    assert!(why.contains("\n-a\n-b\n+b\n+a\n"), "{why}");
    let why = cook_with("```text in any order\na\n", "```text in any order\n").unwrap_err();
    assert!(why.contains("+a"), "{why}");
}

fn a_failing_step_is_caught() {
    for (part, replacement) in [
        ("test -s greeting", "test -s nothing"),
        ("cat greeting", "cat nothing"),
        ("printf 'hello", "false\nprintf 'hello"),
        ("grep -q hello", "grep -q no-such-word"),
        ("printf 'b", "echo $no_such_variable\nprintf 'b"),
    ] {
        let why = cook_with(part, replacement).unwrap_err();
        assert!(why.contains("exit status"), "{part}: {why}");
    }
}

fn a_check_that_is_never_reached_is_caught() {
    let why = cook_with("cat greeting", "exit 0").unwrap_err();
    assert!(why.contains("never reached"), "{why}");
}

fn a_recipe_that_hangs_is_ended() {
    let book = Book::parse(&FAULTLESS.replacen("cat greeting", "sleep 1000 & wait", 1));
    let why = cook(&book.recipes[0], std::time::Duration::from_millis(100)).unwrap_err();
    assert!(why.contains("no end within"), "{why}");
}

fn a_missing_tool_is_named() {
    let needs = ["sh", "no-such-tool"].map(String::from);
    assert_eq!(missing_tools(&needs), ["no-such-tool"]);
}
