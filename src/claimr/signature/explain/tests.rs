use super::*;

const SECRET: &str = "my-secret-key";
const BODY: &str = r#"{"scope":"user_activity","pid":"fLEFzw90"}"#;
const PLAIN: &str = "e866cc1d81ed6b995898923beee04fb4713458a8b026848502cad26dc43fc206";
const STRIPE: &str = "t=1700000000,v1=2e6846c099abcc33853d3c58fa3af11acca7797c914c2a30d00f1f9babc12e6c";

fn ask(secrets: &[&str], headers: &[(&str, &str)], body: &str, now: u64) -> Explanation {
    let secrets: Vec<SecretString> = secrets.iter().map(|s| (*s).into()).collect();
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(name.parse::<http::HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap());
    }
    explain(&secrets, &map, body.as_bytes(), Timestamp(now * 1000))
}

fn signed(key: &[u8], body: &str) -> String {
    HEXLOWER.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), body.as_bytes()).as_ref())
}

#[test]
fn a_right_delivery_names_scheme_and_secret() {
    let explanation = ask(&["other", SECRET], &[("X-Signature", PLAIN)], BODY, 1_700_000_000);
    let matched = explanation.verdict.unwrap();
    assert_eq!((matched.found.scheme(), matched.secret, matched.delivery_id), ("hmac", 1, None));
    assert!(explanation.reasons.is_empty());
}

/// The first reason for refusing one header line.
fn cause(secret: &str, (name, value): (&str, &str), body: &str) -> String {
    let explanation = ask(&[secret], &[(name, value)], body, 1_700_001_000);
    assert!(explanation.verdict.is_err());
    explanation.reasons[0].clone()
}

fn expect(cause: &str, start: &str) {
    assert!(cause.starts_with(start), "expected: {start}\ngot: {cause}");
}

#[test]
fn a_body_that_was_changed_is_recognised() {
    let indented = "{\n  \"scope\": \"user_activity\",\n  \"pid\": \"fLEFzw90\"\n}";
    let line = format!("{BODY}\n");
    // What was signed, what the file holds, and what is said about the file.
    let table = [
        (BODY, indented, "written compactly"),
        (BODY, &line, "without the white space around it"),
        (BODY, &format!("\u{feff}{BODY}"), "without the byte order mark"),
        (&line, BODY, "with a line feed after it"),
        (&format!("{BODY}\r\n"), BODY, "with CR LF after it"),
        (indented, BODY, "indented by two spaces"),
        ("{\n\"a\":1}", "{\r\n\"a\":1}", "with LF for each CR LF"),
        (r#"{"a": [1, 2.50]}"#, r#"{"a":[1,2.50]}"#, "written with a space after each colon and comma"),
        (r#"{"a":1,"b":2}"#, r#"{ "b": 2, "a": 1 }"#, "parsed and written again, its members sorted"),
    ];
    for (sent, file, words) in table {
        let signature = signed(SECRET.as_bytes(), sent);
        expect(
            &cause(SECRET, ("x-signature", &signature), file),
            &format!("The signature is right (hmac, secret 1) for this body {words}"),
        );
    }
    expect(
        &cause(SECRET, ("a-signature", STRIPE), indented),
        "The signature is right (stripe, secret 1) for this body written compactly",
    );
}

#[test]
fn a_secret_that_was_not_copied_right_is_recognised() {
    let under_bytes = signed(b"\xca\xfe\xba\xbe", BODY);
    let table = [
        (" my-secret-key\n", PLAIN, "without the white space"),
        ("\"my-secret-key\"", PLAIN, "without the quotes"),
        ("whsec_my-secret-key", PLAIN, "without `whsec_`"),
        ("my-secret", &signed(b"my-secret\n", BODY), "with a line feed after it"),
        ("cafebabe", &under_bytes, "read as hexadecimal"),
        ("whsec_yv66vg==", &under_bytes, "read as base 64"),
    ];
    for (secret, signature, words) in table {
        expect(
            &cause(secret, ("x-signature", signature), BODY),
            &format!("The signature is right (hmac) under secret 1 {words}"),
        );
    }
    expect(
        &cause("wrong", ("x-signature", PLAIN), BODY),
        "The shape of `x-signature` is that of signature = { scheme = \"hmac\"",
    );
}

#[test]
fn a_header_that_is_no_signature_of_ours_is_named() {
    let bearer = format!("Bearer {SECRET}");
    let sha384 = HEXLOWER.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA384, SECRET.as_bytes()), BODY.as_bytes()).as_ref());
    let unkeyed = HEXLOWER.encode(digest::digest(&digest::SHA256, BODY.as_bytes()).as_ref());
    let base64 = BASE64_NOPAD.encode(&HEXLOWER.decode(PLAIN.as_bytes()).unwrap());
    let table = [
        (("x-request-id", "abc"), "No header looks like a signature. Given: `x-request-id`."),
        (("x-signature", "oops"), "`x-signature` has 4 characters, which are no HMAC"),
        (("x-token", SECRET), "`x-token` holds the secret itself. That proves nothing"),
        (("authorization", &bearer), "`authorization` holds the secret itself with something around it."),
        (("x-signature", &PLAIN[..63]), "`x-signature` holds the first 63 of the 64 characters of the HMAC-SHA-256"),
        (("x-signature", &base64[..40]), "`x-signature` holds the first 40 of the 43 characters of the HMAC-SHA-256"),
        (("x-signature", &sha384), "`x-signature` holds the HMAC-SHA-384 of the body under secret 1; that is not taken."),
        (("digest", &unkeyed), "`digest` holds the SHA-256 of the body without any secret"),
        (("a-signature", STRIPE), "The signature is right (stripe, secret 1), but its timestamp 1700000000 is 1000 s before"),
    ];
    for (header, start) in table {
        expect(&cause(SECRET, header, BODY), start);
    }
    expect(&ask(&[SECRET], &[], BODY, 0).reasons[0], "No header looks like a signature. Given: none.");
}

#[test]
fn timestamps_that_are_no_seconds_are_told_apart() {
    let table = [("t=1700000000000", "count milliseconds"), ("t=+1700000000", "not plain digits"), ("x=1", "and there is none")];
    for (t, words) in table {
        let message = format!("{}.{BODY}", t.trim_start_matches("t="));
        let value = format!("{t},v1={}", signed(SECRET.as_bytes(), &message));
        let explanation = ask(&[SECRET], &[("a-signature", &value)], BODY, 1_700_000_000);
        assert!(explanation.verdict.is_err() && explanation.reasons[0].contains(words), "{:?}", explanation.reasons);
    }
}

#[test]
fn an_empty_secret_is_never_asked() {
    for secrets in [&[][..], &[""], &["whsec_"], &[SECRET, ""]] {
        let explanation = ask(secrets, &[("x-signature", &signed(b"", BODY))], BODY, 0);
        assert!(explanation.verdict.is_err() && explanation.reasons[0].contains("empty"));
    }
}

#[test]
fn neither_a_secret_nor_a_right_signature_is_told() {
    let shared = [("x-token", SECRET), ("x-signature", &PLAIN[..20])];
    let told = format!("{:?}", ask(&[SECRET], &shared, BODY, 0));
    assert!(!told.contains(SECRET) && !told.contains(&PLAIN[..21]), "{told}");
}

#[test]
fn a_shared_secret_is_recognised_alone_and_in_company() {
    let alone = "`x-token` holds the secret itself. That proves nothing";
    let company = "`x-token` holds the secret itself with something around it";
    let table = [(SECRET, alone), ("id=7, my-secret-key", company), ("token=my-secret-key", company)];
    for (value, words) in table {
        expect(&cause(SECRET, ("x-token", value), BODY), words);
    }
}
