//! What usually happens to a body or a secret on its way, to be tried out when nothing matches.

use data_encoding::HEXLOWER_PERMISSIVE;

use super::secret::{STANDARD_PREFIX, standard_key};

/// What a secret becomes in forms and files, and how else a sender may use it; each with words that follow "under secret 1".
pub(super) fn other_secrets(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let trimmed = text.trim();
    let mut others = vec![
        ("without the white space around it: give it without", trimmed.as_bytes().to_vec()),
        ("with a line feed after it: the sender's copy has one", format!("{text}\n").into_bytes()),
    ];
    let quoted = ['"', '\''].iter().find_map(|quote| trimmed.strip_prefix(*quote)?.strip_suffix(*quote));
    others.extend(quoted.map(|inner| ("without the quotes around it: give it without", inner.as_bytes().to_vec())));
    let bare = trimmed.strip_prefix(STANDARD_PREFIX);
    others.extend(bare.map(|bare| ("without `whsec_`: give it without", bare.as_bytes().to_vec())));
    let hex = HEXLOWER_PERMISSIVE.decode(trimmed.as_bytes()).ok();
    others.extend(hex.map(|key| ("read as hexadecimal, which the gateway does not do: ask the sender to use it as text", key)));
    let base64 = "read as base 64, which the gateway does only for Standard Webhooks: ask the sender to use it as text";
    others.extend(standard_key(trimmed).map(|key| (base64, key)));
    others.retain(|(_, key)| !key.is_empty() && key != text.as_bytes());
    others
}

/// What the body may have been before a tool or a framework touched it; each with words that follow "this body".
pub(super) fn other_bodies(body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut others = vec![
        ("without the white space around it", body.trim_ascii().to_vec()),
        ("with a line feed after it", [body, b"\n"].concat()),
        ("with CR LF after it", [body, b"\r\n"].concat()),
        ("with LF for each CR LF", String::from_utf8_lossy(body).replace("\r\n", "\n").into_bytes()),
        ("without the byte order mark before it", body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).to_vec()),
    ];
    if let Ok(json) = serde_json::from_slice::<serde_json::Value>(body) {
        others.push(("written compactly", relaid(body, Layout::Compact)));
        others.push(("written with a space after each colon and comma", relaid(body, Layout::Spaced)));
        others.push(("indented by two spaces", relaid(body, Layout::Indented(2))));
        others.push(("indented by four spaces", relaid(body, Layout::Indented(4))));
        others.push(("parsed and written again, its members sorted", json.to_string().into_bytes()));
    }
    others.retain(|(_, other)| other != body);
    others
}

/// How a program lays JSON out.
#[derive(Clone, Copy)]
enum Layout {
    /// `{"a":[1,2]}`, as of `JSON.stringify`.
    Compact,
    /// `{"a": [1, 2]}`, as of Python's `json.dumps`.
    Spaced,
    /// A line for each member.
    Indented(usize),
}

/// The same JSON with other white space; members, numbers and strings stay as they are written. `json` must be JSON.
fn relaid(json: &[u8], layout: Layout) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut depth = 0usize;
    let (mut in_string, mut escaped) = (false, false);
    for &byte in json {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            out.push(byte);
            continue;
        }
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if !matches!(out.last(), Some(b'{' | b'[')) {
                    new_line(&mut out, layout, depth);
                }
            }
            _ if matches!(out.last(), Some(b'{' | b'[')) => new_line(&mut out, layout, depth),
            _ => {}
        }
        out.push(byte);
        match (byte, layout) {
            (b'{' | b'[', _) => depth += 1,
            (b',', Layout::Indented(_)) => new_line(&mut out, layout, depth),
            (b',', Layout::Spaced) | (b':', Layout::Spaced | Layout::Indented(_)) => out.push(b' '),
            (b'"', _) => in_string = true,
            _ => {}
        }
    }
    out
}

fn new_line(out: &mut Vec<u8>, layout: Layout, depth: usize) {
    if let Layout::Indented(by) = layout {
        out.push(b'\n');
        out.resize(out.len() + by * depth, b' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_laid_out_as_programs_do_it() {
        let json = br#" { "a" : [ 1 , "x, \"y\": {" , [] , {} ] , "b" : { "c" : 1.50 } } "#;
        let table = [
            (Layout::Compact, r#"{"a":[1,"x, \"y\": {",[],{}],"b":{"c":1.50}}"#),
            (Layout::Spaced, r#"{"a": [1, "x, \"y\": {", [], {}], "b": {"c": 1.50}}"#),
            (
                Layout::Indented(2),
                "{\n  \"a\": [\n    1,\n    \"x, \\\"y\\\": {\",\n    [],\n    {}\n  ],\n  \"b\": {\n    \"c\": 1.50\n  }\n}",
            ),
        ];
        for (layout, expected) in table {
            assert_eq!(String::from_utf8(relaid(json, layout)).unwrap(), expected);
            assert_eq!(relaid(expected.as_bytes(), Layout::Compact), relaid(json, Layout::Compact));
        }
    }
}
