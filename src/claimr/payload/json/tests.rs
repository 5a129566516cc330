use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn written(text: &str) -> Result<String, Fault> {
    let mut out = String::new();
    Node::parse(text)?.write(&mut out);
    Ok(out)
}

#[test]
fn values_are_written_as_they_came_less_insignificant_space() {
    let body = " {\r\n\t\"a\" : [ 1250.50 , -0 , 1E2, 123456789012345678901234567890 ],\"\\u0061b\":\"x \\n\\u2028 y\",\"c\":{ } , \"d\":[]\n} ";
    let minified = r#"{"a":[1250.50,-0,1E2,123456789012345678901234567890],"\u0061b":"x \n\u2028 y","c":{},"d":[]}"#;
    assert_eq!(written(body).unwrap(), minified);
}

#[test]
fn what_two_parsers_would_read_differently_is_refused() {
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let deep_objects = format!("{}1{}", "{\"a\":".repeat(65), "}".repeat(65));
    let deepest = deep(10_000);
    let table = [
        ("", "neither", 0),
        ("  ", "neither", 0),
        ("42", "neither", 0),
        ("\"x\"", "neither", 0),
        ("NaN", "neither", 0),
        ("\u{feff}{}", "neither", 0),
        ("{\"a\":NaN}", "not JSON", 5),
        ("{\"a\":Infinity}", "not JSON", 5),
        ("{\"a\":1}x", "not JSON", 7),
        ("{\"a\":1}{}", "not JSON", 7),
        ("{\n \"a\": 01}", "not JSON", 8),
        ("[1,]", "not JSON", 3),
        ("{'a':1}", "not JSON", 1),
        ("{\"a\":\"x", "not JSON", 7),
        ("{\"a\":\"\u{1}\"}", "not JSON", 6),
        ("{\"a\":\"\\ud800\"}", "escape", 5),
        ("{\"a\":\"\\udc00\\ud800\"}", "escape", 5),
        ("{\"\\ud800\":1}", "escape", 1),
        ("{\"a\":[{\"b\":1e400}]}", "out of range", 11),
        ("{\"a\":-1e999}", "out of range", 5),
        ("{\"a\":1,\"b\":2,\"a\":3}", "twice", 13),
        ("{\"a\":{\"x\":1,\"\\u0078\":3}}", "twice", 12),
        (&deep(65), "too deep", 64),
        (&deep_objects, "too deep", 320),
        (&deepest, "too deep", 64),
    ];
    for (text, why, position) in table {
        let fault = Node::parse(text).err().unwrap_or_else(|| panic!("{text:.40} is taken"));
        assert!(fault.why.contains(why), "{text:.40}: {fault:?}");
        // serde_json points at the byte that it stumbled over, or just behind it.
        assert!(fault.position.abs_diff(position) <= 1, "{text:.40}: {fault:?}");
    }
    assert!(Node::parse(&deep(64)).is_ok());
    assert!(Node::parse(&format!("[{}]", "9".repeat(310))).is_err());
    assert!(Node::parse(&format!("[0.{}]", "9".repeat(310))).is_ok());
}

#[test]
fn many_keys_take_no_quadratic_time() {
    let members = |n: usize| (0..n).map(|i| format!("\"{i}\":{i}")).collect::<Vec<_>>().join(",");
    let text = format!("{{{}}}", members(40_000));
    let started = Instant::now();
    let node = Node::parse(&text).unwrap();
    // Comparing each with each would take minutes in an unoptimised build.
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    for i in [0, 1, 32, 39_999] {
        assert_eq!(node.object().unwrap().get(&i.to_string()).unwrap().raw, i.to_string());
    }
    assert!(node.object().unwrap().get("40000").is_none());
    for n in [31, 32, 33, 40_000] {
        let fault = Node::parse(&format!("{{{},\"7\":0}}", members(n))).err().unwrap();
        assert!(fault.why.contains("twice") && fault.position > 100, "{fault:?}");
    }
}

#[test]
fn numbers_in_strings_are_told_from_other_strings() {
    for text in ["0", "-1", "1250.50", "1e3", "-0.5E-7"] {
        assert!(is_number(text), "{text}");
    }
    for text in ["", " 1", "1 ", "+1", "01", ".5", "1.", "0x1", "NaN", "1e400", "1,5", "-", "true", "[1]", "\"1\""] {
        assert!(!is_number(text), "{text}");
    }
}

proptest! {
    #[test]
    fn it_agrees_with_serde_json_on_what_is_json(text in r#"[\[{][\[\]{}",:\\ 0-9a-bu.eE\n-]{0,24}"#) {
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        match written(&text) {
            Ok(ours) => prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&ours).unwrap(), theirs.unwrap()),
            Err(fault) => prop_assert!(theirs.is_err() || fault.why.contains("twice"), "{:?}", fault),
        }
    }
}
