//! Whose connection it is, behind proxies that we were told to trust.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

use crate::config::Network;

/// Knows the trusted proxies.
pub struct ClientAddress(Vec<Network>);

impl ClientAddress {
    /// More hops than this are no chain of ours; reading stops there.
    const HOPS_MAX: usize = 16;

    /// Trusts what proxies in these networks say.
    pub fn new(trusted_proxies: Vec<Network>) -> Self {
        Self(trusted_proxies)
    }

    /// The address that limits count: the peer's, or, if the peer is a trusted proxy, the last address in `X-Forwarded-For` that is not one.
    /// What stands further left was written by somebody we do not know.
    pub(super) fn of(&self, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
        let mut address = peer.ip().to_canonical();
        let lines = headers.get_all("x-forwarded-for").iter().rev();
        let hops = lines.flat_map(|line| line.to_str().unwrap_or("").rsplit(',').map(str::trim));
        for hop in hops.take(Self::HOPS_MAX) {
            if !self.trusts(address) {
                break;
            }
            let Some(next) = parse_hop(hop) else { break };
            address = next;
        }
        address
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

/// An address, perhaps with a port, perhaps in brackets.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(hop);
    let address = bare.parse::<IpAddr>().or_else(|_| hop.parse::<SocketAddr>().map(|a| a.ip())).ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_trusted_proxies_say_counts() {
        let proxies = ClientAddress::new(vec![
            Network { address: "10.0.0.0".parse().unwrap(), prefix: 8 },
            Network { address: "2001:db8::".parse().unwrap(), prefix: 32 },
        ]);
        for (peer, forwarded, client) in [
            ("10.1.2.3:5", &["203.0.113.9"][..], "203.0.113.9"),
            ("10.1.2.3:5", &["1.1.1.1, 203.0.113.9, 10.9.9.9"], "203.0.113.9"),
            ("10.1.2.3:5", &["1.1.1.1", "203.0.113.9:4711, 10.9.9.9"], "203.0.113.9"),
            ("10.1.2.3:5", &["1.1.1.1, garbage"], "10.1.2.3"),
            ("10.1.2.3:5", &[], "10.1.2.3"),
            ("198.51.100.1:5", &["203.0.113.9"], "198.51.100.1"),
            ("[2001:db8::1]:5", &["[2001:4860::8]"], "2001:4860::8"),
            ("[::ffff:10.0.0.1]:5", &["203.0.113.9"], "203.0.113.9"),
        ] {
            let mut headers = HeaderMap::new();
            for line in forwarded {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            assert_eq!(proxies.of(peer.parse().unwrap(), &headers), client.parse::<IpAddr>().unwrap(), "{peer} {forwarded:?}");
        }
    }
}
