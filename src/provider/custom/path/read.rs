//! From the text of a JSONPath to its segments. What is refused is refused with its place.

use super::{Filter, Fixed, Operand, Operator, Segment, Step, Test};
use serde_json::{Number, Value};
use std::{iter::Peekable, str::Chars};

/// The longest expression, in bytes.
const LONGEST: usize = 500;
/// The most parentheses inside each other.
const DEEPEST: usize = 4;

const SINGLE_PLACES: &str = "a filter compares single places: no `?`, `*` or `:` inside it";
const NO_DESCENDANTS: &str = "`..` is not taken: it finds more than a body holds; name the place";
const NO_FUNCTIONS: &str =
    "a place (`@.kind`, `$.id`), a text in quotes, a number, true, false or null is expected";

/// The character at which something is wrong, counted from 1, and what.
type Wrong = (usize, &'static str);

pub(super) fn segments(text: &str) -> Result<Vec<Segment>, String> {
    if text.len() > LONGEST {
        return Err(format!("an expression has at most {LONGEST} bytes"));
    }
    let mut reader = Reader { rest: text.chars().peekable(), at: 1 };
    reader.path().map_err(|(at, why)| format!("at character {at} of `{text}`: {why}"))
}

struct Reader<'t> {
    rest: Peekable<Chars<'t>>,
    at: usize,
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.rest.next();
        if letter.is_some() {
            self.at = self.at.saturating_add(1);
        }
        letter
    }

    fn take(&mut self, letter: char) -> bool {
        let there = self.peek() == Some(letter);
        if there {
            self.next();
        }
        there
    }

    fn need(&mut self, letter: char, why: &'static str) -> Result<(), Wrong> {
        if self.take(letter) { Ok(()) } else { self.wrong(why) }
    }

    fn wrong<T>(&self, why: &'static str) -> Result<T, Wrong> {
        Err((self.at, why))
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|letter| matches!(letter, ' ' | '\t' | '\n' | '\r')) {
            self.next();
        }
    }

    fn path(&mut self) -> Result<Vec<Segment>, Wrong> {
        self.need('$', "a JSONPath such as `$.data.id` begins with `$`")?;
        let mut segments = Vec::new();
        while let Some(letter) = self.peek() {
            match letter {
                '.' => {
                    self.next();
                    segments.push(match self.peek() {
                        Some('*') => {
                            self.next();
                            Segment::Every
                        }
                        _ => Segment::Step(Step::Name(self.name()?)),
                    });
                }
                '[' => {
                    self.next();
                    segments.push(self.brackets()?);
                }
                _ => {
                    return self.wrong(
                        "`.` or `[` is expected; a name with other letters stands as `['a b']`",
                    );
                }
            }
        }
        Ok(segments)
    }

    /// What stands between brackets, and the closing one.
    fn brackets(&mut self) -> Result<Segment, Wrong> {
        self.blanks();
        let segment = match self.peek() {
            Some('\'' | '"') => Segment::Step(Step::Name(self.text()?)),
            Some('*') => {
                self.next();
                Segment::Every
            }
            Some('?') => {
                self.next();
                let mut fixed = Vec::new();
                let test = self.any(&mut fixed, 0)?;
                Segment::Filter(Filter { test, fixed })
            }
            _ => self.index_or_slice()?,
        };
        self.close()?;
        Ok(segment)
    }

    fn close(&mut self) -> Result<(), Wrong> {
        self.blanks();
        if self.peek() == Some(',') {
            return self.wrong("one selector in brackets is taken; give a list of expressions");
        }
        self.need(']', "`]` is expected")
    }

    fn index_or_slice(&mut self) -> Result<Segment, Wrong> {
        let start = self.integer()?;
        self.blanks();
        if !self.take(':') {
            let what = "a name in quotes, an index, a slice, `*` or a filter is expected";
            return start.map_or(self.wrong(what), |at| Ok(Segment::Step(Step::Index(at))));
        }
        self.blanks();
        let end = self.integer()?;
        self.blanks();
        let mut step = None;
        if self.take(':') {
            self.blanks();
            step = self.integer()?;
        }
        Ok(Segment::Slice(start, end, step.unwrap_or(1)))
    }

    /// A whole number as an index is written: no zeros before it.
    fn integer(&mut self) -> Result<Option<i64>, Wrong> {
        let begin = self.at;
        let text = self.letters(|letter| letter.is_ascii_digit() || letter == '-');
        if text.is_empty() {
            return Ok(None);
        }
        let number = text.parse::<i64>().ok().filter(|number| number.to_string() == text);
        number.map(Some).ok_or((begin, "is no index"))
    }

    fn letters(&mut self, takes: impl Fn(char) -> bool) -> String {
        let mut text = String::new();
        while let Some(letter) = self.peek().filter(|letter| takes(*letter)) {
            text.push(letter);
            self.next();
        }
        text
    }

    /// A name behind a dot.
    fn name(&mut self) -> Result<String, Wrong> {
        let is_first =
            |letter: char| letter.is_ascii_alphabetic() || letter == '_' || !letter.is_ascii();
        match self.peek() {
            Some('.') => self.wrong(NO_DESCENDANTS),
            Some(letter) if is_first(letter) => {
                Ok(self.letters(|letter| is_first(letter) || letter.is_ascii_digit()))
            }
            _ => self.wrong("a name is expected; one with other letters stands as `['a b']`"),
        }
    }

    /// A text in quotes of either kind, with JSON's escapes.
    fn text(&mut self) -> Result<String, Wrong> {
        let begin = self.at;
        let quote = self.next();
        let mut json = String::from('"');
        loop {
            match self.next() {
                None => return Err((begin, "the text is not closed")),
                letter if letter == quote => break,
                Some('\\') => match self.next() {
                    Some('\'') if quote == Some('\'') => json.push('\''),
                    Some('"') if quote == Some('\'') => return Err((begin, "is no text of JSON")),
                    letter => {
                        json.push('\\');
                        json.extend(letter);
                    }
                },
                Some('"') => json.push_str("\\\""),
                Some(letter) => json.push(letter),
            }
        }
        json.push('"');
        serde_json::from_str(&json).map_err(|_| (begin, "is no text of JSON"))
    }

    fn any(&mut self, fixed: &mut Vec<Fixed>, depth: usize) -> Result<Test, Wrong> {
        let mut tests = vec![self.all(fixed, depth)?];
        while self.operator("||") {
            tests.push(self.all(fixed, depth)?);
        }
        Ok(Test::Any(tests))
    }

    fn all(&mut self, fixed: &mut Vec<Fixed>, depth: usize) -> Result<Test, Wrong> {
        let mut tests = vec![self.basic(fixed, depth)?];
        while self.operator("&&") {
            tests.push(self.basic(fixed, depth)?);
        }
        Ok(Test::All(tests))
    }

    /// Whether this operator stands here; it is then read.
    fn operator(&mut self, operator: &str) -> bool {
        self.blanks();
        let there = self.rest.clone().take(operator.len()).eq(operator.chars());
        if there {
            for _ in operator.chars() {
                self.next();
            }
        }
        there
    }

    fn basic(&mut self, fixed: &mut Vec<Fixed>, depth: usize) -> Result<Test, Wrong> {
        self.blanks();
        let negated = self.take('!');
        self.blanks();
        let test = if self.peek() == Some('(') {
            if depth == DEEPEST {
                return self.wrong("there are too many parentheses inside each other");
            }
            self.next();
            let test = self.any(fixed, depth.saturating_add(1))?;
            self.blanks();
            self.need(')', "`)` is expected")?;
            test
        } else {
            self.compared(fixed, negated)?
        };
        Ok(if negated { Test::Not(Box::new(test)) } else { test })
    }

    /// A comparison, or that something is there.
    fn compared(&mut self, fixed: &mut Vec<Fixed>, negated: bool) -> Result<Test, Wrong> {
        let left = self.operand(fixed)?;
        self.blanks();
        let operators = [
            ("==", Operator::Equal),
            ("!=", Operator::NotEqual),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        let is_place = |fixed: &[Fixed]| match &left {
            Operand::Here(_) => true,
            Operand::Fixed(at) => matches!(fixed.get(*at), Some(Fixed::Root(_))),
        };
        let at = self.at;
        match operators.into_iter().find(|(text, _)| self.operator(text)) {
            Some(_) if negated => Err((at, "`!` stands before a place or a parenthesis")),
            Some((_, operator)) => Ok(Test::Compared(left, operator, self.operand(fixed)?)),
            None if is_place(fixed) => Ok(Test::There(left)),
            None => self.wrong("a comparison such as `== 'x'` is expected"),
        }
    }

    fn operand(&mut self, fixed: &mut Vec<Fixed>) -> Result<Operand, Wrong> {
        self.blanks();
        let begin = self.at;
        let value = match self.peek() {
            Some('@') => {
                self.next();
                return Ok(Operand::Here(self.steps()?));
            }
            Some('$') => {
                self.next();
                Fixed::Root(self.steps()?)
            }
            Some('\'' | '"') => Fixed::Literal(Value::String(self.text()?)),
            Some(letter) if letter.is_ascii_digit() || letter == '-' => {
                let text = self.letters(|letter| {
                    letter.is_ascii_digit() || matches!(letter, '-' | '+' | '.' | 'e' | 'E')
                });
                let number = serde_json::from_str::<Number>(&text);
                Fixed::Literal(Value::Number(number.map_err(|_| (begin, "is no number"))?))
            }
            _ => match self.letters(char::is_alphanumeric).as_str() {
                "true" => Fixed::Literal(Value::Bool(true)),
                "false" => Fixed::Literal(Value::Bool(false)),
                "null" => Fixed::Literal(Value::Null),
                _ => return Err((begin, NO_FUNCTIONS)),
            },
        };
        fixed.push(value);
        Ok(Operand::Fixed(fixed.len().saturating_sub(1)))
    }

    /// The steps of a place in a filter.
    fn steps(&mut self) -> Result<Vec<Step>, Wrong> {
        let mut steps = Vec::new();
        loop {
            match self.peek() {
                Some('.') => {
                    self.next();
                    match self.peek() {
                        Some('*') => return self.wrong(SINGLE_PLACES),
                        _ => steps.push(Step::Name(self.name()?)),
                    }
                }
                Some('[') => {
                    self.next();
                    self.blanks();
                    steps.push(match self.peek() {
                        Some('\'' | '"') => Step::Name(self.text()?),
                        Some('?' | '*' | ':') => return self.wrong(SINGLE_PLACES),
                        _ => match self.integer()? {
                            Some(index) => Step::Index(index),
                            None => return self.wrong("a name in quotes or an index is expected"),
                        },
                    });
                    self.blanks();
                    if self.peek() == Some(':') {
                        return self.wrong(SINGLE_PLACES);
                    }
                    self.close()?;
                }
                _ => return Ok(steps),
            }
        }
    }
}
