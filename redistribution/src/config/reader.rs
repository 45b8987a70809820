//! Reading a configuration without stopping at the first mistake.

use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Map, Value};

use super::duration::Shown;
use super::shown::Number;

/// Longest part of a value repeated in a message, in characters.
const SHOWN: usize = 60;

/// Something wrong in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it is, such as `close_rate.per_second`; empty for the configuration as a whole.
    pub path: String,
    /// What stands there, as JSON.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
}

/// All that is wrong in a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

/// An object being read. Fields nobody asked for are unknown: [`finish`](Self::finish) says so.
pub(super) struct Object<'v, 'm> {
    path: String,
    fields: &'v Map<String, Value>,
    known: Vec<&'static str>,
    mistakes: &'m RefCell<Vec<Mistake>>,
}

/// The value of a field.
pub(super) struct Field<'v, 'm> {
    path: String,
    value: &'v Value,
    mistakes: &'m RefCell<Vec<Mistake>>,
}

// === impl Mistakes ===

impl Mistakes {
    /// The mistakes, in the order of the fields they were looked for in.
    #[must_use]
    pub fn as_slice(&self) -> &[Mistake] {
        &self.0
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "{count} mistake{} in the configuration:", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl std::error::Error for Mistakes {}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, value, reason } = self;
        if path.is_empty() {
            write!(f, "{value}: {reason}")
        } else {
            write!(f, "{path}: {value}: {reason}")
        }
    }
}

// === reading ===

/// Reads a whole configuration by `read`. No bytes at all count as `{}`.
pub(super) fn read<T>(
    bytes: &[u8],
    read: impl FnOnce(&mut Object<'_, '_>) -> T,
) -> Result<T, Mistakes> {
    let value = if bytes.trim_ascii().is_empty() {
        Value::Object(Map::new())
    } else {
        serde_json::from_slice(bytes).map_err(|error| {
            let value = shorten(&one_line(&String::from_utf8_lossy(bytes)));
            let reason = format!("is not JSON ({error})");
            Mistakes(vec![Mistake { path: String::new(), value, reason }])
        })?
    };
    let mistakes = RefCell::new(Vec::new());
    let root = Field { path: String::new(), value: &value, mistakes: &mistakes };
    let result = root.object(read);
    let mistakes = mistakes.into_inner();
    match result {
        Some(result) if mistakes.is_empty() => Ok(result),
        _ => Err(Mistakes(mistakes)),
    }
}

/// Takes one of `names` and gives what belongs to it.
pub(super) fn one_of<T: Copy>(
    names: &[(&'static str, T)],
) -> impl FnOnce(&Value) -> Result<T, String> {
    let list: Vec<_> = names.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let names = names.to_vec();
    move |value| {
        let name = value.as_str();
        let found = names.iter().find(|(known, _)| Some(*known) == name);
        found.map(|(_, meant)| *meant).ok_or_else(|| format!("must be {}", list.join(" or ")))
    }
}

/// Takes a number within `range`.
pub(super) fn number(range: RangeInclusive<f64>) -> impl FnOnce(&Value) -> Result<f64, String> {
    move |value| {
        value.as_f64().filter(|number| range.contains(number)).ok_or_else(|| {
            let (least, most) = (Number(*range.start()), Number(*range.end()));
            format!("must be a number from {least} to {most}")
        })
    }
}

/// Takes a whole number within `range`.
///
/// A `Struct` of Protocol Buffers, through which Envoy may pass it, has only doubles.
pub(super) fn whole_number(
    range: RangeInclusive<u32>,
) -> impl FnOnce(&Value) -> Result<u32, String> {
    move |value| {
        let whole = value.as_f64().filter(|number| number.fract() == 0.0);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and the range is checked next"
        )]
        whole.map(|number| number as u32).filter(|number| range.contains(number)).ok_or_else(|| {
            format!("must be a whole number from {} to {}", range.start(), range.end())
        })
    }
}

/// Takes a duration, such as `90s` or `1h 30m`, within `range`.
pub(super) fn duration(
    range: RangeInclusive<Duration>,
) -> impl FnOnce(&Value) -> Result<Duration, String> {
    move |value| {
        let duration = value.as_str().and_then(super::duration::parse);
        duration.filter(|duration| range.contains(duration)).ok_or_else(|| {
            let (least, most) = (Shown(*range.start()), Shown(*range.end()));
            format!("must be a duration from {least} to {most}, such as \"90s\" or \"10m\"")
        })
    }
}

// === impl Object ===

impl<'v, 'm> Object<'v, 'm> {
    /// The field `name`, if it is there.
    pub fn field(&mut self, name: &'static str) -> Option<Field<'v, 'm>> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        let value = self.fields.get(name)?;
        let path = join(&self.path, name);
        Some(Field { path, value, mistakes: self.mistakes })
    }

    /// The one of the fields `names` that is there; a mistake where there is none or several.
    pub fn exactly_one(&mut self, names: &[&'static str]) -> Option<(&'static str, Field<'v, 'm>)> {
        let mut found: Vec<_> =
            names.iter().filter_map(|name| Some((*name, self.field(name)?))).collect();
        if found.len() == 1 {
            return found.pop();
        }
        let value = shorten(&Value::Object(self.fields.clone()).to_string());
        let reason = format!("must hold exactly one of {}", names.join(", "));
        self.mistakes.borrow_mut().push(Mistake { path: self.path.clone(), value, reason });
        None
    }

    fn finish(self) {
        for (name, value) in self.fields {
            if !self.known.contains(&name.as_str()) {
                let path = join(&self.path, &shown_name(name));
                let value = shorten(&value.to_string());
                let reason = format!("is not a field here; these are: {}", self.known.join(", "));
                self.mistakes.borrow_mut().push(Mistake { path, value, reason });
            }
        }
    }
}

// === impl Field ===

impl<'v, 'm> Field<'v, 'm> {
    /// The value as `parse` takes it; a mistake with the reason it gives otherwise.
    pub fn parse<T>(&self, parse: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        parse(self.value).map_err(|reason| self.mistake(reason)).ok()
    }

    /// The value as an object, read to its end by `read`.
    pub fn object<T>(&self, read: impl FnOnce(&mut Object<'v, 'm>) -> T) -> Option<T> {
        let Value::Object(fields) = self.value else {
            self.mistake("must be an object".to_owned());
            return None;
        };
        let (path, mistakes) = (self.path.clone(), self.mistakes);
        let mut object = Object { path, fields, known: Vec::new(), mistakes };
        let result = read(&mut object);
        object.finish();
        Some(result)
    }

    /// Whether the value is the string `text`.
    pub fn is(&self, text: &str) -> bool {
        self.value.as_str() == Some(text)
    }

    /// Whether the value is an object.
    pub fn is_object(&self) -> bool {
        self.value.is_object()
    }

    /// Adds a mistake about this value.
    pub fn mistake(&self, reason: String) {
        let value = shorten(&self.value.to_string());
        self.mistakes.borrow_mut().push(Mistake { path: self.path.clone(), value, reason });
    }
}

/// `text` with white space and control characters as single spaces: mistakes are one line each.
fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A name that is not one of ours: quoted where it could be taken for something else, such as
/// an empty one, one with a dot, or one with line ends.
fn shown_name(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !name.is_empty() && name.chars().all(is_plain) {
        shorten(name)
    } else {
        shorten(&Value::from(name).to_string())
    }
}

fn shorten(text: &str) -> String {
    let mut chars = text.chars();
    // JSON escapes most control characters, but not DEL or those from U+0080 on.
    let visible = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let mut shown: String = chars.by_ref().take(SHOWN).map(visible).collect();
    if !chars.as_str().is_empty() {
        shown.push('…');
    }
    shown
}
