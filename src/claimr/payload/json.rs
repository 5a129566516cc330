//! A JSON text as a tree of borrowed pieces that remembers how each value was written.
//!
//! `serde_json` decides what is JSON. Beyond its grammar this refuses what two parsers would read differently: duplicate keys, numbers
//! out of the range of `f64`, lone surrogates, and nesting deeper than [`DEPTH_MAX`]. Values are written again from the bytes
//! they came in, so that `1250.50` stays `1250.50`.

use std::{borrow::Cow, cell::Cell, fmt};

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The deepest nesting of objects and lists; the outermost counts as 1.
pub(super) const DEPTH_MAX: usize = 64;

/// One value.
pub(super) struct Node<'a> {
    /// The value as it was written, without space around it.
    pub(super) raw: &'a str,
    pub(super) value: Value<'a>,
    /// A cell, because the events of one body share what stands around them.
    hidden: Cell<bool>,
}

/// What a value is.
pub(super) enum Value<'a> {
    /// Null, true or false: nothing here asks which.
    Word,
    Number,
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Object(Object<'a>),
}

/// Members with distinct keys.
pub(super) struct Object<'a> {
    members: Vec<Member<'a>>,
    /// The members' places in the order of their keys; only of objects with so many members that searching them one by one is slow.
    sorted: Box<[u32]>,
}

struct Member<'a> {
    raw_key: &'a str,
    key: Cow<'a, str>,
    value: Node<'a>,
}

/// What is wrong with a text: in words without any of it, and how many bytes into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) why: &'static str,
    pub(super) position: usize,
}

impl<'a> Node<'a> {
    /// Reads a whole text that is one object or one list.
    pub(super) fn parse(text: &'a str) -> Result<Self, Fault> {
        let raw = text.trim_matches(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
        let reader = Reader { text, fault: Cell::new(None) };
        let result = match raw.as_bytes().first() {
            Some(b'{' | b'[') => reader.node(raw, 0),
            _ => Err(reader.fault("neither an object nor a list", raw)),
        };
        // The fault is in the reader, where the errors of `serde_json` cannot carry it.
        result.map_err(|Stop| reader.fault.take().unwrap_or(Fault { why: NOT_JSON, position: 0 }))
    }

    /// From now on the value and all that is in it counts as absent.
    pub(super) fn hide(&self) {
        self.hidden.set(true);
        match &self.value {
            Value::Word | Value::Number | Value::Text(_) => {}
            Value::List(items) => items.iter().for_each(Self::hide),
            Value::Object(object) => object.members.iter().for_each(|member| member.value.hide()),
        }
    }

    /// Whether it was hidden itself.
    pub(super) fn is_hidden(&self) -> bool {
        self.hidden.get()
    }

    /// The members, if it is an object.
    pub(super) fn object(&self) -> Option<&Object<'a>> {
        if let Value::Object(object) = &self.value { Some(object) } else { None }
    }

    /// Writes the value as it was, without insignificant space and without hidden members; a hidden element of a list is `null`,
    /// so that its neighbours keep their places.
    pub(super) fn write(&self, out: &mut String) {
        match &self.value {
            _ if self.is_hidden() => out.push_str("null"),
            Value::Word | Value::Number | Value::Text(_) => out.push_str(self.raw),
            Value::List(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Value::Object(object) => object.write(out, |_| true, |_, value, out| value.write(out)),
        }
    }
}

impl<'a> Object<'a> {
    /// Up to here comparing each key with each other is quicker than sorting them.
    const SMALL: usize = 32;

    /// The value of a member that is not hidden.
    pub(super) fn get(&self, key: &str) -> Option<&Node<'a>> {
        let member = if self.sorted.is_empty() {
            self.members.iter().find(|member| member.key == key)?
        } else {
            let at = self.sorted.binary_search_by(|i| self.members[*i as usize].key.as_ref().cmp(key)).ok()?;
            &self.members[self.sorted[at] as usize]
        };
        (!member.value.is_hidden()).then_some(&member.value)
    }

    /// The members that are not hidden, in their order.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &Node<'a>)> {
        let visible = self.members.iter().filter(|member| !member.value.is_hidden());
        visible.map(|member| (member.key.as_ref(), &member.value))
    }

    /// Writes an object of the members that are not hidden and whose keys are `wanted`, each value as `write` does it.
    pub(super) fn write(&self, out: &mut String, wanted: impl Fn(&str) -> bool, write: impl Fn(&str, &Node<'a>, &mut String)) {
        out.push('{');
        let mut first = true;
        for member in self.members.iter().filter(|member| !member.value.is_hidden() && wanted(&member.key)) {
            if !first {
                out.push(',');
            }
            first = false;
            out.push_str(member.raw_key);
            out.push(':');
            write(&member.key, &member.value, out);
        }
        out.push('}');
    }

    /// Finds a key that stands here twice, in a time that does not grow with the square of the members.
    fn index(members: Vec<Member<'a>>) -> Result<Self, &'a str> {
        if members.len() <= Self::SMALL {
            let twice = members.iter().enumerate().find(|(i, member)| members[..*i].iter().any(|other| other.key == member.key));
            return match twice {
                Some((_, member)) => Err(member.raw_key),
                None => Ok(Self { members, sorted: Box::default() }),
            };
        }
        let mut sorted: Vec<u32> = (0..).take(members.len()).collect();
        let key = |i: &u32| members[*i as usize].key.as_ref();
        sorted.sort_unstable_by(|a, b| key(a).cmp(key(b)));
        match sorted.windows(2).find(|pair| key(&pair[0]) == key(&pair[1])) {
            Some(pair) => Err(members[pair[0].max(pair[1]) as usize].raw_key),
            None => Ok(Self { members, sorted: sorted.into() }),
        }
    }
}

const NOT_JSON: &str = "not JSON";

/// What reads one text; the first fault ends the reading.
struct Reader<'a> {
    text: &'a str,
    fault: Cell<Option<Fault>>,
}

/// The reader holds why.
struct Stop;

impl<'a> Reader<'a> {
    /// Reads one value inside `depth` others. `raw` is a piece of the text.
    fn node(&self, raw: &'a str, depth: usize) -> Result<Node<'a>, Stop> {
        let value = match raw.as_bytes().first() {
            Some(b'{' | b'[') if depth == DEPTH_MAX => return Err(self.fault("nested too deep", raw)),
            Some(b'{' | b'[') => return self.container(raw, depth + 1),
            Some(b'"') => Value::Text(self.text(raw)?),
            Some(b'-' | b'0'..=b'9') => self.number(raw)?,
            _ => Value::Word,
        };
        Ok(Node { raw, value, hidden: Cell::new(false) })
    }

    fn container(&self, raw: &'a str, depth: usize) -> Result<Node<'a>, Stop> {
        let mut json = serde_json::Deserializer::from_str(raw);
        let inside = Inside { reader: self, depth };
        let value = inside.deserialize(&mut json).and_then(|value| json.end().map(|()| value));
        match value {
            Ok(value) => Ok(Node { raw, value, hidden: Cell::new(false) }),
            Err(error) => Err(self.fault(NOT_JSON, after(raw, error.line(), error.column()))),
        }
    }

    fn text(&self, raw: &'a str) -> Result<Cow<'a, str>, Stop> {
        if raw.contains('\\') {
            // What was skipped over is a string by its quotes only; its escapes are looked at here.
            serde_json::from_str(raw).map(Cow::Owned).map_err(|_| self.fault("a string with an escape that is no character", raw))
        } else {
            Ok(Cow::Borrowed(&raw[1..raw.len() - 1]))
        }
    }

    fn number(&self, raw: &str) -> Result<Value<'a>, Stop> {
        if is_finite(raw) { Ok(Value::Number) } else { Err(self.fault("a number out of range", raw)) }
    }

    /// Notes the first fault; those that follow from it say less.
    fn fault(&self, why: &'static str, raw: &str) -> Stop {
        let position = raw.as_ptr().addr().saturating_sub(self.text.as_ptr().addr()).min(self.text.len());
        let fault = self.fault.get().unwrap_or(Fault { why, position });
        self.fault.set(Some(fault));
        Stop
    }
}

/// Whether a number, in JSON's grammar, is one that an `f64` comes near to.
fn is_finite(raw: &str) -> bool {
    // f64 ends at 1.8e308, so a shorter number without an exponent is in range.
    let short = raw.len() <= 300 && !raw.contains(['e', 'E']);
    short || raw.parse::<f64>().is_ok_and(f64::is_finite)
}

/// Whether `text` is a number in JSON's grammar and nothing else, and in range.
pub(super) fn is_number(text: &str) -> bool {
    let starts_as_one = text.bytes().next().is_some_and(|b| b == b'-' || b.is_ascii_digit());
    let same = |raw: &RawValue| raw.get().len() == text.len();
    starts_as_one && serde_json::from_str(text).is_ok_and(same) && is_finite(text)
}

/// The rest of `raw` from a line and column as `serde_json` counts them.
fn after(raw: &str, line: usize, column: usize) -> &str {
    let line_start: usize = raw.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let mut at = (line_start + column.saturating_sub(1)).min(raw.len());
    while !raw.is_char_boundary(at) {
        at -= 1;
    }
    &raw[at..]
}

/// Reads the members or elements of a container at a depth.
struct Inside<'r, 'a> {
    reader: &'r Reader<'a>,
    depth: usize,
}

impl<'a> DeserializeSeed<'a> for Inside<'_, 'a> {
    type Value = Value<'a>;

    fn deserialize<D: de::Deserializer<'a>>(self, deserializer: D) -> Result<Value<'a>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Inside<'_, 'a> {
    type Value = Value<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<Value<'a>, A::Error> {
        let mut items = Vec::new();
        while let Some(raw) = seq.next_element::<&RawValue>()? {
            items.push(self.reader.node(raw.get(), self.depth).map_err(stop)?);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Value<'a>, A::Error> {
        let mut members = Vec::new();
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            let raw_key = key.get();
            let key = self.reader.text(raw_key).map_err(stop)?;
            members.push(Member { raw_key, key, value: self.reader.node(value.get(), self.depth).map_err(stop)? });
        }
        let object =
            Object::index(members).map_err(|key| stop(self.reader.fault("a key that stands twice in one object", key)))?;
        Ok(Value::Object(object))
    }
}

fn stop<E: de::Error>(_: Stop) -> E {
    E::custom(NOT_JSON)
}

#[cfg(test)]
mod tests;
