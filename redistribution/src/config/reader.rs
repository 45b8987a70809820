//! Reading a configuration without stopping at the first mistake.

use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::json::{Fields, Json, Visible};
use super::nearest::nearest;
use super::shown::Number;

/// Longest configuration that is read, in bytes. One with all its fields has some hundred; reading
/// much more would cost the memory of every worker for good.
pub const MAX_BYTES: usize = 64 * 1024;

/// Longest part of a value repeated in a message, in characters.
const SHOWN: usize = 60;

/// Mistakes that are told at most; the others are counted.
const TOLD: usize = 100;

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mistakes {
    told: Vec<Mistake>,
    more: usize,
}

/// An object being read. Fields nobody asked for are unknown: [`finish`](Self::finish) says so.
pub(super) struct Object<'v, 'm> {
    path: String,
    fields: &'v [(String, Json)],
    known: Vec<&'static str>,
    mistakes: &'m RefCell<Mistakes>,
}

/// A duration as somebody would write it: in one unit.
pub(super) struct Plain(pub Duration);

/// The value of a field.
pub(super) struct Field<'v, 'm> {
    path: String,
    value: &'v Json,
    mistakes: &'m RefCell<Mistakes>,
}

// === impl Mistakes ===

impl Mistakes {
    /// The mistakes, in the order of the fields they were looked for in: the first hundred of them.
    #[must_use]
    pub fn as_slice(&self) -> &[Mistake] {
        &self.told
    }

    fn add(&mut self, path: &str, value: &impl fmt::Display, reason: String) {
        if self.told.len() < TOLD {
            let value = shorten(&value.to_string());
            self.told.push(Mistake { path: path.to_owned(), value, reason });
        } else {
            self.more += 1;
        }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.told.len() + self.more;
        write!(f, "{count} mistake{} in the configuration:", if count == 1 { "" } else { "s" })?;
        self.told.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))?;
        if self.more > 0 { write!(f, "\n  and {} more", self.more) } else { Ok(()) }
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
    let mistakes = RefCell::new(Mistakes::default());
    let value = if bytes.len() > MAX_BYTES {
        Err(format!("is longer than {MAX_BYTES} bytes"))
    } else if bytes.trim_ascii().is_empty() {
        Ok(Json::Object(Vec::new()))
    } else {
        Json::parse(bytes).map_err(|error| format!("is not JSON ({error})"))
    };
    let value = value.map_err(|reason| {
        let mut mistakes = Mistakes::default();
        mistakes.add("", &beginning(bytes), reason);
        mistakes
    })?;
    let root = Field { path: String::new(), value: &value, mistakes: &mistakes };
    let result = root.object(read);
    let mistakes = mistakes.into_inner();
    match result {
        Some(result) if mistakes.told.is_empty() => Ok(result),
        _ => Err(mistakes),
    }
}

/// Takes one of `names` and gives what belongs to it.
pub(super) fn one_of<T: Copy>(
    names: &[(&'static str, T)],
) -> impl FnOnce(&Json) -> Result<T, String> {
    let list: Vec<_> = names.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let names = names.to_vec();
    move |value| {
        let name = value.as_str();
        let found = names.iter().find(|(known, _)| Some(*known) == name);
        found.map(|(_, meant)| *meant).ok_or_else(|| format!("must be {}", list.join(" or ")))
    }
}

/// Takes a number within `range`.
pub(super) fn number(range: RangeInclusive<f64>) -> impl FnOnce(&Json) -> Result<f64, String> {
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
) -> impl FnOnce(&Json) -> Result<u32, String> {
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
) -> impl FnOnce(&Json) -> Result<Duration, String> {
    move |value| {
        let duration = value.as_str().and_then(super::duration::parse);
        duration.filter(|duration| range.contains(duration)).ok_or_else(|| {
            let [least, most] = [range.start(), range.end()].map(|d| Plain(*d));
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
        let (_, value) = self.fields.iter().find(|(known, _)| known == name)?;
        let path = join(&self.path, name);
        Some(Field { path, value, mistakes: self.mistakes })
    }

    /// The one of `alternatives` that is there, all of which were looked for; a mistake where there
    /// is none or several.
    pub fn exactly_one<T>(
        &self,
        alternatives: impl IntoIterator<Item = Option<Option<T>>>,
    ) -> Option<T> {
        let mut there = alternatives.into_iter().flatten();
        if let (Some(one), None) = (there.next(), there.next()) {
            return one;
        }
        let one = if self.known.len() == 1 { "" } else { "exactly one of " };
        let reason = format!("must hold {one}{}", self.known.join(", "));
        self.mistakes.borrow_mut().add(&self.path, &Fields(self.fields), reason);
        None
    }

    /// How many mistakes there are so far, in the whole configuration.
    pub fn mistakes(&self) -> usize {
        let mistakes = self.mistakes.borrow();
        mistakes.told.len() + mistakes.more
    }

    fn finish(self) {
        let mut mistakes = self.mistakes.borrow_mut();
        for known in &self.known {
            let those = self.fields.iter().filter(|(name, _)| name == known);
            for (_, value) in those.skip(1) {
                let reason = "is there already: a field must not be given twice".to_owned();
                mistakes.add(&join(&self.path, known), value, reason);
            }
        }
        for (name, value) in self.fields {
            if !self.known.contains(&name.as_str()) {
                let meant = nearest(name, &self.known)
                    .map_or_else(String::new, |meant| format!(" (did you mean {meant}?)"));
                let reason =
                    format!("is not a field here{meant}; these are: {}", self.known.join(", "));
                mistakes.add(&join(&self.path, &shown_name(name)), value, reason);
            }
        }
    }
}

// === impl Field ===

impl<'v, 'm> Field<'v, 'm> {
    /// The value as `parse` takes it; a mistake with the reason it gives otherwise.
    pub fn parse<T>(&self, parse: impl FnOnce(&Json) -> Result<T, String>) -> Option<T> {
        parse(self.value).map_err(|reason| self.mistake(reason)).ok()
    }

    /// The value as an object, read to its end by `read`.
    pub fn object<T>(&self, read: impl FnOnce(&mut Object<'v, 'm>) -> T) -> Option<T> {
        let Json::Object(fields) = self.value else {
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
        matches!(self.value, Json::Object(_))
    }

    /// Adds a mistake about this value.
    pub fn mistake(&self, reason: String) {
        self.mistakes.borrow_mut().add(&self.path, self.value, reason);
    }
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        let units = [("days", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
        // A day is 24 h.
        let fits = |of: u128| ms.is_multiple_of(of) && ms > of || ms == of && of < 86_400_000;
        match units.into_iter().find(|(_, of)| fits(*of)) {
            Some((unit, of)) => write!(f, "{}{unit}", ms / of),
            None if ms == 0 => f.write_str("0s"),
            None => write!(f, "{ms}ms"),
        }
    }
}

/// The beginning of what is not JSON. Mistakes are one line each.
fn beginning(bytes: &[u8]) -> String {
    // No character has more than four bytes.
    let text = String::from_utf8_lossy(bytes.get(..4 * SHOWN).unwrap_or(bytes));
    let words: Vec<_> = text.split_whitespace().collect();
    let mut shown = Visible(&words.join(" ")).to_string();
    if bytes.len() > 4 * SHOWN {
        shown.push('…');
    }
    shown
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
        shorten(&Json::Text(name.to_owned()).to_string())
    }
}

fn shorten(text: &str) -> String {
    let mut chars = text.chars();
    let mut shown: String = chars.by_ref().take(SHOWN).collect();
    if !chars.as_str().is_empty() {
        shown.push('…');
    }
    shown
}
