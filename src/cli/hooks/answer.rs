//! What claimr's API says, in words that help.
//!
//! Documented is `{"success":true}`. How it says no is not, so its own words are shown beside what the status means everywhere.

use http::{Method, header};
use serde_json::Value;

use crate::cli::client::Answer;

/// Whether it was done; or why not, and what to do.
pub(super) fn judge(answer: &Answer, method: &Method) -> Result<(), String> {
    let status = answer.status;
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let success = body.as_ref().and_then(|body| body.get("success")?.as_bool());
    if status.is_success() && success == Some(true) {
        return Ok(());
    }
    let said = format!("{status}: {}", answer.excerpt());
    let remedy = match (status.as_u16(), success) {
        (300..=399, _) => {
            let to = answer.headers.get(header::LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("somewhere else");
            let to = to.escape_debug();
            return Err(format!(
                "{status}: it redirects to {to}, which the API token is not sent to\n      -> if that is claimr's API, name it with --api-base"
            ));
        }
        (401 | 403, _) => "claimr does not take the API token: look at CLAIMR_API_TOKEN, which is the organisation's",
        (404, _) if *method == Method::DELETE => {
            "claimr has no such hook, or its API is elsewhere: look at --scope, --hook-id and --api-base"
        }
        (404 | 405, _) => "claimr's API is elsewhere: look at --api-base, which ends before /hook",
        (429, _) => "claimr takes no more requests now: wait, and try again",
        (400 | 422, _) => {
            "claimr does not understand the request: its words say what; --uri-field url is the other documented name"
        }
        (500..=599, _) => "claimr's API is in trouble: wait, and try again",
        (_, Some(false)) => "claimr refused it: its words say why",
        (_, _) if body.is_none() => "this is no JSON, so it is not claimr's API: look at --api-base",
        _ => "it does not say success: true, so whether it was done is not known; doing it again is safe",
    };
    Err(format!("{said}\n      -> {remedy}"))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    #[test]
    fn only_success_is_success() {
        for (status, body, method, says) in [
            (200, r#"{"success":false,"message":"no such campaign"}"#, Method::POST, "no such campaign"),
            (200, "{}", Method::POST, "not known"),
            (204, "", Method::DELETE, "no JSON"),
            (200, "<html>hello</html>", Method::POST, "no JSON"),
            (301, "", Method::POST, "redirects to https://other.example"),
            (401, r#"{"success":true}"#, Method::POST, "CLAIMR_API_TOKEN"),
            (404, "{}", Method::DELETE, "no such hook"),
            (404, "{}", Method::POST, "--api-base"),
            (422, "{}", Method::POST, "--uri-field"),
            (503, "{}", Method::POST, "in trouble"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::LOCATION, "https://other.example/".parse().unwrap());
            let answer = Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: body.into() };
            let refusal = judge(&answer, &method).unwrap_err();
            assert!(refusal.contains(says), "{status} {body}: {refusal}");
        }
        let answer = Answer { status: StatusCode::OK, headers: HeaderMap::new(), body: r#"{"success":true}"#.into() };
        assert_eq!(judge(&answer, &Method::POST), Ok(()));
    }
}
