//! JSON pointers (RFC 6901): which members nobody may see, and which somebody else may see.

use super::json::{Node, Value};

/// The way from a value to one inside it.
pub(super) struct Pointer(Box<[Box<str>]>);

impl Pointer {
    /// Reads a pointer. A slash that is missing in front is added: a setting that hides must not fail open over it, and one that shows
    /// can mean nothing else.
    pub(super) fn new(text: &str) -> Self {
        if text.is_empty() {
            return Self(Box::default());
        }
        let tokens = text.strip_prefix('/').unwrap_or(text).split('/');
        Self(tokens.map(|token| token.replace("~1", "/").replace("~0", "~").into()).collect())
    }

    /// Hides what it points at.
    pub(super) fn hide(&self, node: &Node<'_>) {
        if let Some(target) = self.0.iter().try_fold(node, |node, token| step(node, token)) {
            target.hide();
        }
    }
}

/// Writes `node` less all that none of the pointers points at; an object without members if that is everything.
pub(super) fn write_allowed(node: &Node<'_>, allowed: &[Pointer], out: &mut String) {
    let reaches = |pointer: &&Pointer| pointer.0.iter().try_fold(node, |node, token| step(node, token)).is_some();
    let ways: Vec<&[Box<str>]> = allowed.iter().filter(reaches).map(|pointer| &*pointer.0).collect();
    if ways.is_empty() || node.is_hidden() { out.push_str("{}") } else { write_ways(node, &ways, out) }
}

/// Each of the ways leads to something.
fn write_ways(node: &Node<'_>, ways: &[&[Box<str>]], out: &mut String) {
    if ways.iter().any(|way| way.is_empty()) {
        return node.write(out);
    }
    let beyond = |key: &str| -> Vec<&[Box<str>]> {
        ways.iter().filter_map(|way| way.split_first()).filter(|(token, _)| &***token == key).map(|(_, rest)| rest).collect()
    };
    match &node.value {
        Value::Object(object) => {
            object.write(out, |key| !beyond(key).is_empty(), |key, value, out| write_ways(value, &beyond(key), out));
        }
        Value::List(items) => {
            out.push('[');
            let start = out.len();
            for (i, item) in items.iter().enumerate() {
                let ways = beyond(&i.to_string());
                if !ways.is_empty() {
                    write_ways(item, &ways, out);
                    out.push(',');
                }
            }
            if out.len() > start {
                out.pop();
            }
            out.push(']');
        }
        Value::Word | Value::Number | Value::Text(_) => out.push_str("null"),
    }
}

/// The member or element that a token names, if it is there and not hidden.
fn step<'t, 'a>(node: &'t Node<'a>, token: &str) -> Option<&'t Node<'a>> {
    match &node.value {
        Value::Object(object) => object.get(token),
        Value::List(items) => {
            let index: usize = token.parse().ok()?;
            // `01` and `+1` are no indexes.
            let canonical = token.starts_with(|c: char| c.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
            items.get(index).filter(|item| canonical && !item.is_hidden())
        }
        Value::Word | Value::Number | Value::Text(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"email":"a@b.c","user":{"email":"d@e.f","n":[{"x":1,"y":2},{"x":3}]},"a/b":{"~":5},"":6,"t":null}"#;

    #[test]
    fn hidden_members_are_gone_and_hidden_elements_leave_their_places() {
        let table = [
            ("/email", r#"{"user":{"email":"d@e.f","n":[{"x":1,"y":2},{"x":3}]},"a/b":{"~":5},"":6,"t":null}"#),
            ("email", r#"{"user":{"email":"d@e.f","n":[{"x":1,"y":2},{"x":3}]},"a/b":{"~":5},"":6,"t":null}"#),
            ("/user", r#"{"email":"a@b.c","a/b":{"~":5},"":6,"t":null}"#),
            ("/user/n/0", r#"{"email":"a@b.c","user":{"email":"d@e.f","n":[null,{"x":3}]},"a/b":{"~":5},"":6,"t":null}"#),
            ("/user/n/0/x", r#"{"email":"a@b.c","user":{"email":"d@e.f","n":[{"y":2},{"x":3}]},"a/b":{"~":5},"":6,"t":null}"#),
            ("/a~1b/~0", r#"{"email":"a@b.c","user":{"email":"d@e.f","n":[{"x":1,"y":2},{"x":3}]},"a/b":{},"":6,"t":null}"#),
            ("/", r#"{"email":"a@b.c","user":{"email":"d@e.f","n":[{"x":1,"y":2},{"x":3}]},"a/b":{"~":5},"t":null}"#),
            ("/user/n/00", BODY),
            ("/user/n/+1", BODY),
            ("/user/n/2", BODY),
            ("/user/n/-", BODY),
            ("/email/x", BODY),
            ("/nothing", BODY),
            ("", "null"),
        ];
        for (pointer, expected) in table {
            let node = Node::parse(BODY).unwrap();
            Pointer::new(pointer).hide(&node);
            let mut out = String::new();
            node.write(&mut out);
            assert_eq!(out, expected, "{pointer}");
        }
    }

    #[test]
    fn of_an_allow_list_only_what_it_names_is_written() {
        let table: [(&[&str], &str); 8] = [
            (&[], "{}"),
            (&["/nothing", "/email/x"], "{}"),
            (&["/email"], r#"{"email":"a@b.c"}"#),
            (&["/user/email", "/t"], r#"{"user":{"email":"d@e.f"},"t":null}"#),
            (&["/user/n/1"], r#"{"user":{"n":[{"x":3}]}}"#),
            (&["/user/n/0/y", "/user/n/1/x"], r#"{"user":{"n":[{"y":2},{"x":3}]}}"#),
            (&["/user/n", "/user/n/0"], r#"{"user":{"n":[{"x":1,"y":2},{"x":3}]}}"#),
            (&[""], BODY),
        ];
        for (allowed, expected) in table {
            let allowed: Vec<_> = allowed.iter().map(|text| Pointer::new(text)).collect();
            let mut out = String::new();
            write_allowed(&Node::parse(BODY).unwrap(), &allowed, &mut out);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn what_is_hidden_cannot_be_allowed() {
        let node = Node::parse(BODY).unwrap();
        Pointer::new("/user/email").hide(&node);
        let mut out = String::new();
        write_allowed(&node, &[Pointer::new("/user/email"), Pointer::new("/t")], &mut out);
        assert_eq!(out, r#"{"t":null}"#);
    }
}
