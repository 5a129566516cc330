//! Another configuration for a running gateway: all of it that can be taken up without a restart, or nothing.
//!
//! Everything new is made and checked first; what is left then cannot fail. Nobody is disconnected: sessions go on with the token and under
//! the limits that they began with, webhooks on their way are seen through by the secrets and the mapping they met.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Gateway, SettingProblem, admission_limits, hub_limits, list, next_tls, public_settings, stream_limits};
use crate::{
    config::Config,
    http::{Public, admin::Admin},
    listener::Tls,
};

/// Puts another configuration in force. Cheap to clone.
#[derive(Clone)]
pub struct Reloader {
    in_force: Arc<Mutex<Config>>,
    public: Arc<Public>,
    admin: Arc<Admin>,
    /// Of the public listener.
    tls: Option<Arc<Tls>>,
}

/// Why the configuration in force stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the new configuration cannot be taken up:{}", list(.0))]
pub struct Refused(pub Vec<SettingProblem>);

impl Reloader {
    pub(super) fn new(config: Config, public: Arc<Public>, admin: Arc<Admin>, tls: Option<Arc<Tls>>) -> Self {
        Self { in_force: Arc::new(Mutex::new(config)), public, admin, tls }
    }

    /// Puts `config` in force, or names every setting that stands against it. Has to be called within the gateway's runtime, because new
    /// key sets begin to be fetched.
    pub fn apply(&self, config: Config) -> Result<(), Refused> {
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        let fixed = |setting| SettingProblem {
            setting,
            problem: "cannot change without a restart; restart, or change it back".to_owned(),
        };
        let mut problems: Vec<_> = in_force.restart_needed(&config).into_iter().map(fixed).collect();
        problems.extend(Gateway::problems(&config));
        if !problems.is_empty() {
            return Err(Refused(problems));
        }
        let streams = &self.public.streams;
        let sources = self.public.ingest.prepare(&config.sources).map_err(refused)?;
        let credentials = streams.credentials.prepare(&config.auth, config.limits.token_bytes_max).map_err(refused)?;
        let tls = next_tls(&config).map_err(|problem| refused(vec![problem]))?;

        self.public.ingest.replace(sources);
        streams.credentials.replace(credentials);
        if let (Some(in_force), Some(next)) = (&self.tls, tls) {
            in_force.replace(next);
        }
        streams.limits.set(stream_limits(&config.limits));
        streams.hub.set_limits(hub_limits(&config.limits));
        self.public.admission.set_limits(admission_limits(&config.limits));
        self.public.settings.set(public_settings(&config));
        self.admin.api.guard.replace(config.admin.token.as_ref());
        self.admin.api.data_bytes_max.set(config.limits.webhook_body_bytes_max);
        *in_force = config;
        Ok(())
    }
}

fn refused(problems: Vec<impl Into<SettingProblem>>) -> Refused {
    Refused(problems.into_iter().map(Into::into).collect())
}
