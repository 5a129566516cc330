//! Is it there, is it ours, do the clocks agree, and whose pages does it let in?

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};

use super::{Exam, finding::Finding};
use crate::{
    cli::client::{Answer, Trouble},
    clock,
    event::Timestamp,
};

/// A page that nobody allows: names under `.invalid` belong to nobody (RFC 2606).
const STRANGER: &str = "https://stranger.invalid";
/// Of clocks; the most leeway that a gateway gives.
const SKEW_S: u64 = 30;

/// The first request. Without a gateway there, nothing else can be looked at.
pub(super) async fn reachable(exam: &Exam) -> (Finding, Option<Answer>) {
    const CHECK: &str = "reachable";
    let url = exam.target.url(&exam.target.below("/v1/sse"));
    let answer = match ask(exam, Method::GET, &[]).await {
        Ok(answer) => answer,
        Err(trouble) => return (Finding::bad(CHECK, trouble.to_string(), trouble.remedy()), None),
    };
    let status = answer.status;
    let finding = match (status.as_u16(), answer.error_code().as_deref()) {
        (401, Some("token_missing")) => Finding::good(CHECK, format!("{url} asks for a token (401)")),
        (404, Some(_)) => Finding::bad(
            CHECK,
            format!("a gateway, but it has nothing at {url}"),
            "name its URL without a path, or with the prefix that the proxy takes off",
        ),
        (400, Some("tls_required")) => {
            Finding::bad(CHECK, format!("{url}: the port speaks TLS"), "write https:// (and for pages wss://)")
        }
        (_, Some(code)) => Finding::bad(CHECK, format!("{url} answered {status} {code}"), "see the gateway's log"),
        (300..=399, None) => {
            let to = answer.headers.get(header::LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("somewhere");
            let remedy = "name that URL: WebSockets follow no redirects, and senders of webhooks should not have to";
            Finding::bad(CHECK, format!("{url} redirects to {to}"), remedy)
        }
        (401 | 403, None) => {
            let remedy = "let the proxy pass /v1 and /hooks on without credentials of its own: the gateway checks tokens itself";
            Finding::bad(CHECK, format!("{status}, but not by a gateway: {}", answer.excerpt()), remedy)
        }
        (502..=504, None) => Finding::bad(
            CHECK,
            format!("the proxy answers {status}: it does not reach the gateway"),
            "start the gateway, and compare server.listen with the proxy's upstream",
        ),
        _ => {
            let remedy = "check the URL, and that the proxy passes /v1 on to the gateway";
            Finding::bad(CHECK, format!("{url} answered {status}, which no gateway does: {}", answer.excerpt()), remedy)
        }
    };
    let answer = (!finding.is_bad()).then_some(answer);
    (finding, answer)
}

/// The answer's `Date` against this machine's clock.
pub(super) fn clocks(answer: &Answer) -> Finding {
    const CHECK: &str = "clock";
    let Some(theirs) = server_time(&answer.headers) else {
        return Finding::skipped(CHECK, "the answer has no Date");
    };
    let ours = clock::now().as_secs();
    let apart = ours.abs_diff(theirs.as_secs());
    if apart <= SKEW_S {
        return Finding::good(CHECK, format!("the server and this machine are {apart} s apart"));
    }
    let which = if theirs.as_secs() < ours { "behind" } else { "ahead of" };
    let remedy = format!("synchronise both clocks (NTP): tokens and signed timestamps bear {SKEW_S} s at most");
    Finding::bad(CHECK, format!("the server's clock is {apart} s {which} this machine's"), remedy)
}

/// When the server says it is.
pub(super) fn server_time(headers: &HeaderMap) -> Option<Timestamp> {
    let date = httpdate::parse_http_date(headers.get(header::DATE)?.to_str().ok()?).ok()?;
    Some(Timestamp(0).plus(date.duration_since(std::time::UNIX_EPOCH).ok()?))
}

/// A page's two requests: the preflight for its `Authorization`, and the one that follows.
pub(super) async fn own_origin(exam: &Exam) -> Finding {
    const CHECK: &str = "origin";
    let Some(origin) = &exam.origin else {
        return Finding::skipped(CHECK, "name the page's origin, as --origin https://app.example.com");
    };
    let preflight = [
        (header::ORIGIN, origin.as_str()),
        (header::ACCESS_CONTROL_REQUEST_METHOD, "GET"),
        (header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization"),
    ];
    let answers = async {
        let preflight = ask(exam, Method::OPTIONS, &preflight).await?;
        Ok((preflight, ask(exam, Method::GET, &[(header::ORIGIN, origin)]).await?))
    };
    let (preflight, actual) = match answers.await {
        Ok(answers) => answers,
        Err::<_, Trouble>(trouble) => return Finding::bad(CHECK, trouble.to_string(), trouble.remedy()),
    };
    if [&preflight, &actual].iter().any(|answer| answer.error_code().as_deref() == Some("origin_not_allowed")) {
        let remedy = format!(
            "write allowed_origins = [\"{origin}\"] under [server]: scheme, host and port exactly as the browser sends them"
        );
        return Finding::bad(CHECK, format!("pages of {origin} may not connect"), remedy);
    }
    for (which, answer) in [("preflight", &preflight), ("request", &actual)] {
        if let Err((problem, remedy)) = allows(answer, origin) {
            return Finding::bad(CHECK, format!("the answer to a page's {which} {problem}"), remedy);
        }
    }
    let headers = preflight.headers.get(header::ACCESS_CONTROL_ALLOW_HEADERS).and_then(|value| value.to_str().ok());
    let takes_token = headers.is_some_and(|list| list.split(',').any(|name| name.trim().eq_ignore_ascii_case("authorization")));
    if !preflight.status.is_success() || !takes_token {
        let problem = format!("the preflight ({}) does not let pages send Authorization", preflight.status);
        return Finding::bad(CHECK, problem, "let the proxy pass OPTIONS on to the gateway, which answers it");
    }
    Finding::good(CHECK, format!("pages of {origin} may connect"))
}

fn allows(answer: &Answer, origin: &str) -> Result<(), (String, &'static str)> {
    let allowed: Vec<_> = answer.headers.get_all(header::ACCESS_CONTROL_ALLOW_ORIGIN).iter().collect();
    match allowed.as_slice() {
        [one] if one.as_bytes() == origin.as_bytes() => Ok(()),
        [] => {
            let remedy = "let the proxy pass OPTIONS on, and leave the gateway's Access-Control headers in the answer";
            Err((format!("({}) does not allow it", answer.status), remedy))
        }
        [other] => {
            Err((format!("allows {other:?} instead"), "take CORS settings out of the proxy: the gateway answers for itself"))
        }
        _ => {
            let remedy = "take CORS settings out of the proxy: browsers refuse an answer with two";
            Err(("has two Access-Control-Allow-Origin".to_owned(), remedy))
        }
    }
}

/// What a page of somebody else gets.
pub(super) async fn strangers(exam: &Exam) -> Finding {
    const CHECK: &str = "strangers";
    let answer = match ask(exam, Method::GET, &[(header::ORIGIN, STRANGER)]).await {
        Ok(answer) => answer,
        Err(trouble) => return Finding::bad(CHECK, trouble.to_string(), trouble.remedy()),
    };
    let allowed = answer.headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    if allowed.is_some() {
        let problem =
            format!("pages of {STRANGER} are let in ({:?})", allowed.map(|value| String::from_utf8_lossy(value.as_bytes())));
        return Finding::bad(CHECK, problem, "take CORS settings out of the proxy: the gateway answers for itself");
    }
    if answer.status != StatusCode::FORBIDDEN {
        let problem = format!("a page of {STRANGER} gets {} instead of 403", answer.status);
        return Finding::bad(CHECK, problem, "let the proxy pass the Origin header on to the gateway");
    }
    Finding::good(CHECK, "pages of other origins are refused (403)")
}

/// A request for the stream, without a token.
async fn ask(exam: &Exam, method: Method, headers: &[(header::HeaderName, &str)]) -> Result<Answer, Trouble> {
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = method;
    exam.aim(&mut request, "/v1/sse")?;
    for (name, value) in headers {
        exam.head(&mut request, name, value)?;
    }
    exam.client.ask(&exam.target, request).await
}
