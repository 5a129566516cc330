//! What holds for any configuration.

use super::{
    load::{DEFAULTS, read},
    tree::{Environment, PREFIX},
    *,
};

/// A secret that is looked for in what is shown.
pub(crate) const CANARY: &str = "a-canary-that-sings-in-no-output";
/// Variables that secrets may come from.
const VARIABLES: [(&str, &str); 2] = [("SECRET", CANARY), ("EMPTY", "")];
/// Kept from being read by `{ file = … }`: some never end.
const FORBIDDEN: [&str; 4] = ["/dev", "/proc", "/sys", "\\"];

/// The options: `d` to read the text in front of the defaults' lines; then a `/` and variables as `SECTION__KEY=value`, each after a `;`.
/// Gives the configuration if it has no mistake.
pub(crate) fn check(options: &[u8], text: &[u8]) -> Option<Config> {
    let (options, text) = (String::from_utf8_lossy(options), String::from_utf8_lossy(text));
    if FORBIDDEN.iter().any(|path| options.contains(path) || text.contains(path)) {
        return None;
    }
    let (letters, variables) = options.split_once('/').unwrap_or((&options, ""));
    let variables = variables.split(';').filter_map(|variable| variable.split_once('='));
    let variables = variables.map(|(name, value)| (format!("{PREFIX}{name}"), value.to_owned()));
    let fixed = VARIABLES.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let environment: Environment = variables.chain(fixed).collect();
    let text = if letters.contains('d') { format!("{text}\n{DEFAULTS}") } else { text.into_owned() };
    let (result, _) = read("relay.toml", &text, &environment);
    match result {
        Ok(config) => {
            is_complete(&config);
            Some(config)
        }
        Err(mistakes) => {
            assert!(!mistakes.0.is_empty(), "refused without a reason");
            for mistake in &mistakes.0 {
                let Mistake { key, origin, problem, remedy } = mistake;
                assert!(![key, origin, problem, remedy].iter().any(|part| part.is_empty()), "{mistake:?}");
            }
            // Only where the text does not have it for something else.
            assert!(shows_it_itself(&text, &environment) || !mistakes.to_string().contains(CANARY), "{mistakes}");
            None
        }
    }
}

/// Whether the canary stands in the text or in a variable where it is no secret.
fn shows_it_itself(text: &str, environment: &Environment) -> bool {
    let as_values = text.matches(&format!("value = \"{CANARY}\"")).count();
    let in_variables =
        environment.iter().any(|(name, value)| name != "SECRET" && value.contains(CANARY) || name.contains(CANARY));
    text.matches(CANARY).count() > as_values || in_variables
}

fn is_complete(config: &Config) {
    assert!(!config.sources.is_empty() && !config.auth.issuer.is_empty() && !config.auth.audience.is_empty());
    assert!(!config.auth.keys.is_empty() || !config.auth.jwks.is_empty());
    assert!(config.auth.leeway <= Duration::from_secs(30) && config.auth.token_life_max <= Duration::from_hours(24));
    assert!(config.admin.token.is_some() || config.server.admin_listen.ip().is_loopback());
    let mut names: Vec<_> = config.sources.iter().map(|source| &source.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "two sources of one name");
    for source in &config.sources {
        assert!(source.allow_unsigned == source.secrets.is_empty(), "a source without a secret that wants one");
    }
    let shown = config.to_toml_redacted();
    assert!(toml::from_str::<toml::Table>(&shown).is_ok(), "what is shown is no TOML: {shown}");
}
