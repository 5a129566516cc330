//! What the token says of itself. Only its own words are read: whether it is genuine is for the gateway to say.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use super::finding::Finding;
use crate::event::Timestamp;

const CHECK: &str = "token";
const LEEWAY: Duration = Duration::from_secs(30);
const LIFE_MAX: Duration = Duration::from_hours(24);

/// Looks at the claims as a gateway whose clock shows `now` would.
pub(super) fn check(token: &str, now: Timestamp) -> Finding {
    let Some(claims) = claims(token) else {
        let problem = "it is not a JWT: three parts in base 64, joined by dots";
        return Finding::bad(CHECK, problem, "make one: claimr-relay token --config relay.toml --user acme:42");
    };
    let moment = |claim: &str| {
        let seconds = Duration::try_from_secs_f64(claims.get(claim)?.as_f64()?).ok()?;
        Some(Timestamp(0).plus(seconds))
    };
    let missing: Vec<_> = ["iss", "aud", "sub", "exp"].into_iter().filter(|name| claims.get(name).is_none()).collect();
    if !missing.is_empty() {
        return Finding::bad(
            CHECK,
            format!("it does not say {}", missing.join(", ")),
            "let the backend set iss, aud, sub and exp",
        );
    }
    let Some(expires) = moment("exp") else {
        return Finding::bad(CHECK, "its exp is not a number of seconds", "let the backend set exp to seconds since 1970");
    };
    if expires.plus(LEEWAY) < now {
        let ago = rounded(now.since(expires));
        return Finding::bad(
            CHECK,
            format!("it expired {ago} ago by the server's clock"),
            "use a new one; if it is new, compare the clocks",
        );
    }
    for claim in ["iat", "nbf"] {
        if let Some(begins) = moment(claim).filter(|begins| *begins > now.plus(LEEWAY)) {
            let problem = format!("its {claim} is {} ahead of the server's clock", rounded(begins.since(now)));
            return Finding::bad(CHECK, problem, "synchronise the clock of the machine that signs tokens");
        }
    }
    if expires.since(moment("iat").unwrap_or(now.plus(LEEWAY))) > LIFE_MAX {
        return Finding::bad(CHECK, "its life is longer than 24 h", "let the backend sign tokens of minutes, not days");
    }
    let user = claims["sub"].as_str().unwrap_or("?").escape_debug().to_string();
    Finding::good(CHECK, format!("for {user}, good for {}", rounded(expires.since(now))))
}

fn claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let json = BASE64URL_NOPAD.decode(claims.as_bytes()).ok().filter(|_| parts.next().is_none())?;
    serde_json::from_slice(&json).ok().filter(Value::is_object)
}

fn rounded(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(duration.as_secs()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_is_judged_by_what_it_says() {
        let now = Timestamp(1_000_000_000);
        let good = json!({"iss": "i", "aud": "a", "sub": "acme:42", "exp": 1_000_600, "iat": 1_000_000});
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            claims
        };
        for (claims, says) in [
            (good.clone(), "for acme:42, good for 10m"),
            (with("sub", json!("\u{1b}[2J")), "for \\u{1b}[2J, good"),
            (with("exp", json!(999_900)), "it expired 1m 40s ago"),
            (with("exp", json!("soon")), "not a number"),
            (with("iat", json!(1_000_100)), "its iat is 1m 40s ahead"),
            (with("nbf", json!(1_000_031)), "its nbf is 31s ahead"),
            (with("exp", json!(1_090_000)), "longer than 24 h"),
            (json!({"sub": "x"}), "does not say iss, aud, exp"),
        ] {
            let token = format!("e30.{}.x", BASE64URL_NOPAD.encode(claims.to_string().as_bytes()));
            let text = check(&token, now).to_text();
            assert!(text.contains(says), "{claims}: {text}");
        }
        for token in ["", "a.b", "a.%.c", "a.e30.c.d", "a.W10.c"] {
            assert!(check(token, now).to_text().contains("not a JWT"), "{token}");
        }
    }
}
