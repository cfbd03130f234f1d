//! PURE: the languages of programs that stand in a script, and the options of their interpreters. It
//! does not look at a command.

/// The language of a program that a value would become a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Awk,
    Sed,
    Perl,
    Python,
    Ruby,
    Node,
    Php,
    Lua,
}

impl Language {
    pub(super) fn named(program: &[u8]) -> Option<Self> {
        // Such as python3.11, lua5.4, perl5.36.0.
        let end = program
            .iter()
            .rposition(|byte| !byte.is_ascii_digit() && *byte != b'.');
        Some(match &program[..end.map_or(0, |last| last + 1)] {
            b"awk" | b"gawk" | b"mawk" | b"nawk" | b"goawk" => Language::Awk,
            b"sed" | b"gsed" => Language::Sed,
            b"perl" => Language::Perl,
            b"python" | b"pypy" => Language::Python,
            b"ruby" => Language::Ruby,
            b"node" | b"nodejs" => Language::Node,
            b"php" => Language::Php,
            b"lua" | b"luajit" => Language::Lua,
            _ => return None,
        })
    }

    pub(super) fn advice(self) -> String {
        let (name, instead) = match self {
            Language::Awk => ("awk", "X={} awk '... ENVIRON[\"X\"] ...'"),
            Language::Sed => ("sed", "X={} awk '... ENVIRON[\"X\"] ...'"),
            Language::Perl => ("perl", "perl -e '... $ARGV[0] ...' -- {}"),
            Language::Python => ("python", "python3 -c '... sys.argv[1] ...' {}"),
            Language::Ruby => ("ruby", "ruby -e '... ARGV[0] ...' -- {}"),
            Language::Node => ("node", "node -e '... process.argv[1] ...' -- {}"),
            Language::Php => ("php", "php -r '... $argv[1] ...' -- {}"),
            Language::Lua => (
                "lua",
                "lua -e '... os.getenv(\"X\") ...' with X={} before it",
            ),
        };
        format!("would become a part of the {name} program: write {instead}")
    }

    /// Returns the letters of options whose argument is a program.
    pub(super) fn code_options(self) -> &'static [u8] {
        match self {
            Language::Awk => b"e",
            Language::Sed => b"e",
            Language::Perl => b"eE",
            Language::Python => b"c",
            Language::Ruby => b"e",
            Language::Node => b"ep",
            Language::Php => b"rRBEd",
            Language::Lua => b"e",
        }
    }

    /// Returns the long forms of these options.
    pub(super) fn long_code_options(self) -> &'static [&'static [u8]] {
        match self {
            Language::Awk => &[b"--source", b"--exec"],
            Language::Sed => &[b"--expression"],
            Language::Node => &[b"--eval", b"--print"],
            Language::Php => &[
                b"--run",
                b"--process-code",
                b"--process-begin",
                b"--process-end",
            ],
            Language::Perl | Language::Python | Language::Ruby | Language::Lua => &[],
        }
    }

    /// Returns the long forms of options whose argument is run before the program, or may be one.
    pub(super) fn long_module_options(self) -> &'static [&'static [u8]] {
        match self {
            Language::Node => &[b"--import", b"--loader", b"--experimental-loader"],
            Language::Php => &[b"--define"],
            _ => &[],
        }
    }

    /// Returns the letters of other options that take an argument.
    pub(super) fn options_with_argument(self) -> &'static [u8] {
        match self {
            Language::Awk => b"Fvf",
            Language::Sed => b"fl",
            Language::Perl => b"I",
            Language::Python => b"WXm",
            Language::Ruby => b"rIC",
            Language::Node => b"r",
            Language::Php => b"cfSt",
            Language::Lua => b"l",
        }
    }

    /// Returns the letters of options whose argument is the rest of the same word, if there is any.
    pub(super) fn attached_options(self) -> &'static [u8] {
        match self {
            Language::Sed => b"i",
            Language::Perl => b"DFMVimx",
            Language::Ruby => b"FKix",
            _ => b"",
        }
    }

    /// Returns `true` if the first operand is the program, unless an option has given one.
    pub(super) fn has_program_as_operand(self) -> bool {
        matches!(self, Language::Awk | Language::Sed)
    }
}
