//! A delivery as a line for a shell.

use http::{HeaderName, HeaderValue};

/// The command that sends it: quoted for every POSIX shell, whatever the body holds. No secret is in it, only what it signed.
pub(super) fn line(url: &str, headers: &[(HeaderName, HeaderValue)], body: &str) -> String {
    let field = |(name, value): &(HeaderName, HeaderValue)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    let mut parts = vec![format!("curl {} -H 'Content-Type: application/json'", quoted(url))];
    parts.extend(headers.iter().map(|line| format!("-H {}", quoted(&field(line)))));
    // Unlike --data, this sends a body that begins with @ as it is.
    parts.push(format!("--data-raw {}", quoted(body)));
    parts.join(" \\\n  ")
}

/// Between single quotes nothing is special but the single quote itself.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_gives_back_every_byte() {
        for text in ["", "plain", "it's", "''", "a\nb\\", "$(x) `y` \"z\" !1 *", "@file", "-d"] {
            let output = Command::new("sh").arg("-c").arg(format!("printf '%s' {}", quoted(text))).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }
}
