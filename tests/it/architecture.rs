//! The house rules that a compiler does not check: which room may use which, which room stays pure, which
//! file alone may name a library. Reads the source; ARCHITECTURE.md says why each rule is there.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// Which rooms each room may use, itself aside. A room is a module at the root of the crate; `lib` and
/// `main` are those two files. A new room gets a line here, and one in ARCHITECTURE.md.
const MAY_USE: &[(&str, &[&str])] = &[
    ("lib", &[]),
    ("main", &["cli"]),
    // Plain data, and leaves that know nothing but it.
    ("model", &[]),
    ("clock", &["model"]),
    ("keyring", &["model"]),
    ("handover", &["model"]),
    ("health", &["model", "clock"]),
    ("shutdown", &[]),
    ("retry", &["shutdown"]),
    ("telemetry", &[]),
    // The stages, in the order in which a message walks through them.
    ("provider", &["model", "verify"]),
    ("verify", &["model", "provider"]),
    ("normalize", &["model", "provider", "verify"]),
    ("store", &["model", "keyring"]),
    ("outbox", &["model", "store", "handover", "clock"]),
    ("apply", &["model", "store", "outbox", "keyring"]),
    (
        "pipeline",
        &[
            "model",
            "provider",
            "verify",
            "normalize",
            "apply",
            "outbox",
            "store",
            "handover",
            "keyring",
            "clock",
            "telemetry",
        ],
    ),
    (
        "deliver",
        &[
            "model",
            "store",
            "handover",
            "keyring",
            "clock",
            "shutdown",
            "retry",
            "health",
            "telemetry",
        ],
    ),
    // The edges.
    (
        "intake",
        &["model", "pipeline", "store", "clock", "shutdown", "retry", "health", "telemetry"],
    ),
    (
        "http",
        &[
            "model",
            "pipeline",
            "verify",
            "provider",
            "store",
            "deliver",
            "intake",
            "keyring",
            "clock",
            "shutdown",
            "health",
            "telemetry",
        ],
    ),
    ("config", &["model", "provider", "verify", "pipeline", "keyring"]),
    ("client", &["model", "verify", "clock", "retry"]),
    ("simulator", &["model"]),
    (
        "daemon",
        &[
            "model",
            "provider",
            "pipeline",
            "store",
            "intake",
            "deliver",
            "http",
            "config",
            "handover",
            "keyring",
            "clock",
            "shutdown",
            "retry",
            "health",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "model",
            "provider",
            "verify",
            "normalize",
            "pipeline",
            "store",
            "intake",
            "deliver",
            "http",
            "config",
            "handover",
            "keyring",
            "clock",
            "shutdown",
            "retry",
            "health",
            "telemetry",
            "daemon",
            "simulator",
            "client",
        ],
    ),
];

/// Files and folders that are functions of data alone: they wait for nothing, keep nothing, read no clock.
const PURE: &[&str] = &[
    "model",
    "provider",
    "verify",
    "normalize",
    "apply/decide",
    "apply/claims",
    "apply/command",
    "apply/facts",
    "apply/customers",
    "apply/matching",
    "apply/changes",
    "deliver/breaker",
    "deliver/schedule",
    "deliver/signature",
    "simulator",
];

/// The rooms that a pure file may use, where [`MAY_USE`] lets it.
const PURE_ROOMS: &[&str] = &["model", "keyring", "provider", "verify", "normalize"];

/// What a pure file must not say.
const IMPURE: &[&str] = &["async", "await", "Clock", "Instant"];

/// What only some files may say, and why.
const ONLY: &[(&str, &[&str], &str)] = &[
    ("sqlx", &["store"], "SQL lives in the store"),
    (
        "lapin",
        &["intake/rabbitmq", "intake/topology", "intake/publisher"],
        "RabbitMQ is known to the intake alone",
    ),
    (
        "reqwest",
        &["deliver/client", "deliver/guard", "client", "telemetry/export"],
        "requests go out through the guarded client, traces to the operator's collector",
    ),
    ("opentelemetry", &["telemetry"], "traces are told by one room"),
    ("axum", &["http"], "HTTP is served by one room"),
    ("std::env", &["config"], "settings come from config"),
    ("Utc::now", &["clock"], "time is an argument"),
    ("Local::now", &["clock"], "time is an argument"),
    ("SystemTime", &["clock"], "time is an argument"),
    ("now_v7", &["clock"], "ids are made by the clock"),
    ("new_v4", &["clock"], "ids are made by the clock"),
];

#[test]
fn every_room_uses_only_the_rooms_below_it() {
    let mut broken = String::new();
    for file in sources() {
        let room = file.room();
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == room) else {
            let _ = writeln!(broken, "{}: no room called `{room}` in MAY_USE", file.path);
            continue;
        };
        for (line, used) in rooms_used(&file.code) {
            if used != room && !allowed.contains(&used.as_str()) {
                let _ = writeln!(
                    broken,
                    "{}:{line}: `{room}` uses `{used}`; it may use {allowed:?}",
                    file.path
                );
            }
        }
    }
    assert!(broken.is_empty(), "rooms are used against the direction of the house:\n{broken}");
}

#[test]
fn pure_rooms_are_functions_of_data() {
    let mut broken = String::new();
    for file in sources().iter().filter(|file| file.is_within(PURE)) {
        for word in IMPURE {
            for line in lines_with(&file.code, word) {
                let _ = writeln!(broken, "{}:{line}: says `{word}`", file.path);
            }
        }
        for (line, used) in rooms_used(&file.code) {
            if used != file.room() && !PURE_ROOMS.contains(&used.as_str()) {
                let _ = writeln!(broken, "{}:{line}: uses `{used}`", file.path);
            }
        }
    }
    assert!(
        broken.is_empty(),
        "pure files wait for nothing, keep nothing, read no clock:\n{broken}"
    );
}

#[test]
fn libraries_and_the_world_outside_are_known_to_few_files() {
    let mut broken = String::new();
    for file in sources() {
        for (word, places, why) in ONLY {
            if !file.is_within(places) {
                for line in lines_with(&file.code, word) {
                    let _ = writeln!(
                        broken,
                        "{}:{line}: says `{word}`; {why}: only {places:?} may",
                        file.path
                    );
                }
            }
        }
    }
    assert!(broken.is_empty(), "what few may name is named elsewhere:\n{broken}");
}

#[test]
fn every_file_says_what_it_is_for_and_none_is_called_mod() {
    let mut broken = String::new();
    for root in ["src", "tests"] {
        for path in rust_files(root) {
            let shown = path.display();
            let text = std::fs::read_to_string(&path).expect("a source file can be read");
            if !text.starts_with("//!") {
                let _ = writeln!(broken, "{shown}:1: does not begin with `//!`");
            }
            if path.ends_with("mod.rs") {
                let _ = writeln!(broken, "{shown}: call it by its module: `foo.rs` beside `foo/`");
            }
        }
    }
    assert!(broken.is_empty(), "files without a purpose or a name:\n{broken}");
}

/// A source file of the program, with everything but its code blanked out.
struct Source {
    /// From the project's root.
    path: String,
    /// From `src`, without the ending: `apply/decide`.
    module: String,
    /// The code; comments, texts and tests are blank, lines keep their numbers.
    code: String,
}

impl Source {
    fn room(&self) -> String {
        self.module.split('/').next().unwrap_or_default().to_owned()
    }

    /// Whether it is one of these files, or in one of these folders.
    fn is_within(&self, places: &[&str]) -> bool {
        places.iter().any(|place| {
            self.module
                .strip_prefix(place)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

fn sources() -> Vec<Source> {
    let mut all: Vec<Source> = rust_files("src")
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a source file can be read");
            let module = path.with_extension("").display().to_string();
            Source {
                path: path.display().to_string(),
                module: module.trim_start_matches("src/").to_owned(),
                code: code_of(&text),
            }
        })
        .collect();
    all.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(all.len() > 10, "the source is read from the project's root");
    all
}

fn rust_files(folder: impl AsRef<Path>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files
}

/// The text with comments, string and character literals, and the tests at its end blanked out.
fn code_of(text: &str) -> String {
    let blank =
        |text: &str| text.chars().map(|c| if c == '\n' { c } else { ' ' }).collect::<String>();
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            'r' if !ends_a_name(&code) => raw_string_length(rest),
            '"' => string_length(rest),
            '\'' => character_length(rest),
            _ => 0,
        };
        if skipped == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.push_str(&blank(&rest[..skipped]));
            rest = &rest[skipped..];
        }
    }
    match code.find("#[cfg(test)]\nmod tests") {
        Some(tests) => code[..tests].to_owned(),
        None => code,
    }
}

fn ends_a_name(code: &str) -> bool {
    code.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_')
}

/// The length of the string literal that a text begins with, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            _ => escaped = c == '\\' && !escaped,
        }
    }
    text.len()
}

/// The length of the raw string literal that a text begins with; 0 if it begins with none.
fn raw_string_length(text: &str) -> usize {
    let hashes = text[1..].chars().take_while(|c| *c == '#').count();
    if text[1 + hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let body = 2 + hashes;
        text[body..].find(&end).map_or(text.len(), |at| body + at + end.len())
    } else {
        0
    }
}

/// The length of the character literal that a text begins with; 0 if the quote begins a lifetime.
fn character_length(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    match (characters.next(), characters.next()) {
        (Some((_, '\\')), Some((escaped, _))) => {
            text[escaped + 1..].find('\'').map_or(text.len(), |end| escaped + 1 + end + 1)
        }
        (Some(_), Some((end, '\''))) => end + 1,
        _ => 0,
    }
}

/// The numbers of the lines that say a word (`axum`) or a path (`std::env`).
fn lines_with<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .filter(move |(at, _)| {
            !code[..*at].ends_with(is_part) && !code[at + word.len()..].starts_with(is_part)
        })
        .map(|(at, _)| line_of(code, at))
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// The rooms that `crate::…` paths lead to, each with its line: `use crate::{model::id, store}` is two.
/// A macro of the crate (`crate::set!`) belongs to no room: who uses it uses what it takes.
fn rooms_used(code: &str) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    for root in ["crate::", "customer_sync::"] {
        for (at, _) in code.match_indices(root) {
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
                continue;
            }
            let start = at + root.len();
            for (offset, name) in names_at(&code[start..]) {
                used.push((line_of(code, start + offset), name));
            }
        }
    }
    used.sort();
    used
}

/// The first name of a path, or of each path in a `{…}` group, with its place.
fn names_at(path: &str) -> Vec<(usize, String)> {
    let name_at = |at: usize| {
        let rest = &path[at..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        (end > 0 && !rest[end..].starts_with('!') && &rest[..end] != "set")
            .then(|| (at, rest[..end].to_owned()))
    };
    if !path.starts_with('{') {
        return name_at(0).into_iter().collect();
    }
    let (mut depth, mut expecting, mut names) = (0, false, Vec::new());
    for (at, c) in path.char_indices() {
        match c {
            '{' => (depth, expecting) = (depth + 1, depth == 0),
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' => expecting = depth == 1,
            _ if c.is_whitespace() => {}
            _ if expecting => {
                names.extend(name_at(at));
                expecting = false;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn the_reader_sees_code_and_nothing_else() {
    let text = "use crate::{\n    model::{id, time},\n    store::{self, Db}, // crate::http\n};\n\
        fn f<'a>(x: &'a str) -> char { crate::apply::g(\"crate::cli\", r#\"crate::\"daemon\"#, '\"'); $crate::set!(x); '\\'' }\n\
        /* crate::intake */ crate::verify::h();\n\
        #[cfg(test)]\nmod tests { use crate::simulator; }";
    let seen = rooms_used(&code_of(text));
    let expected = [(2, "model"), (3, "store"), (5, "apply"), (6, "verify")];
    assert_eq!(seen, expected.map(|(line, room)| (line, room.to_owned())));
    assert_eq!(lines_with("axum_x; use\naxum::Router;", "axum").collect::<Vec<_>>(), [2]);
}

/// Pain point 21 (recall.ai, "Postgres LISTEN/NOTIFY does not scale"): a transaction that notifies holds one lock of the
/// whole server while it commits. Ours tell nobody by the database: due messages are looked for, and processes that
/// write hand theirs over in memory.
#[test]
fn no_statement_notifies_or_listens() {
    let texts: Vec<(PathBuf, String)> = rust_files("src/store")
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a source file can be read");
            (path, text.to_ascii_lowercase())
        })
        .collect();
    assert!(
        texts.iter().any(|(_, text)| text.contains("\"update messages")),
        "statements are here"
    );
    let says = |text: &str| {
        let begins = |word: &str| {
            text.contains(&format!("\"{word} ")) || text.contains(&format!("; {word} "))
        };
        text.contains("pg_notify") || ["notify", "listen"].into_iter().any(begins)
    };
    let wrong: Vec<&PathBuf> =
        texts.iter().filter(|(_, text)| says(text)).map(|(path, _)| path).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(says("\"notify due\"") && says("select 1; listen due"));
}
