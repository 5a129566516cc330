//! Whose connection it is, behind proxies that we were told to trust.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, header};

use crate::config::Network;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Knows the trusted proxies.
pub struct ClientAddress(Vec<Network>);

impl ClientAddress {
    /// More hops than this are no chain of ours; reading stops there.
    const HOPS_MAX: usize = 16;

    /// Trusts what proxies in these networks say.
    pub fn new(trusted_proxies: Vec<Network>) -> Self {
        Self(trusted_proxies)
    }

    /// The address that limits count: the peer's, or, if the peer is a trusted proxy, the last address that it was given which is not one.
    /// What stands further left was written by somebody we do not know.
    ///
    /// `X-Forwarded-For` counts if it is there, else `Forwarded` (RFC 7239): nearly every proxy writes the former, and many hand on the
    /// latter as a client made it up.
    pub(super) fn of(&self, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.ip().to_canonical();
        if !self.trusts(peer) {
            return peer;
        }
        if headers.contains_key(X_FORWARDED_FOR) {
            self.last_stranger(peer, values(headers, X_FORWARDED_FOR).map(parse_node))
        } else {
            self.last_stranger(
                peer,
                values(headers, header::FORWARDED.as_str()).map(|element| parse_node(forwarded_for(element)?)),
            )
        }
    }

    /// `hops` come with the nearest first.
    fn last_stranger(&self, peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
        let mut address = peer;
        for hop in hops.take(Self::HOPS_MAX) {
            let Some(next) = hop else { break };
            address = next;
            if !self.trusts(address) {
                break;
            }
        }
        address
    }

    /// Whether `address` is a trusted proxy's.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

/// The elements of a list header, last first.
fn values<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().rev().flat_map(|line| line.to_str().unwrap_or("").rsplit(',').map(str::trim))
}

/// The `for` of an element such as `for="[2001:db8::1]:4711";proto=https`. (A comma or semicolon inside quotes is no address anyway.)
fn forwarded_for(element: &str) -> Option<&str> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    let value = value.trim();
    Some(value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value))
}

/// An address, perhaps with a port, perhaps in brackets.
fn parse_node(node: &str) -> Option<IpAddr> {
    let bare = node.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(node);
    let address = bare.parse::<IpAddr>().or_else(|_| node.parse::<SocketAddr>().map(|a| a.ip())).ok()?;
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
        let (xff, forwarded) = (X_FORWARDED_FOR, "forwarded");
        for (peer, name, lines, client) in [
            ("10.1.2.3:5", xff, &["203.0.113.9"][..], "203.0.113.9"),
            ("10.1.2.3:5", xff, &["1.1.1.1, 203.0.113.9, 10.9.9.9"], "203.0.113.9"),
            ("10.1.2.3:5", xff, &["1.1.1.1", "203.0.113.9:4711, 10.9.9.9"], "203.0.113.9"),
            ("10.1.2.3:5", xff, &["1.1.1.1, garbage"], "10.1.2.3"),
            ("10.1.2.3:5", xff, &[], "10.1.2.3"),
            ("198.51.100.1:5", xff, &["203.0.113.9"], "198.51.100.1"),
            ("[2001:db8::1]:5", xff, &["[2001:4860::8]"], "2001:4860::8"),
            ("[::ffff:10.0.0.1]:5", xff, &["203.0.113.9"], "203.0.113.9"),
            ("10.1.2.3:5", forwarded, &["for=203.0.113.9"], "203.0.113.9"),
            ("10.1.2.3:5", forwarded, &["For=1.1.1.1, for=203.0.113.9;proto=http;by=10.0.0.1, for=10.9.9.9"], "203.0.113.9"),
            ("10.1.2.3:5", forwarded, &["proto=https; for=\"[2001:4860::8]:4711\"", "for=10.9.9.9"], "2001:4860::8"),
            ("10.1.2.3:5", forwarded, &["for=203.0.113.9, for=unknown"], "10.1.2.3"),
            ("10.1.2.3:5", forwarded, &["for=203.0.113.9, for=_hidden, for=10.9.9.9"], "10.9.9.9"),
            ("198.51.100.1:5", forwarded, &["for=203.0.113.9"], "198.51.100.1"),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(name, line.parse().unwrap());
            }
            assert_eq!(proxies.of(peer.parse().unwrap(), &headers), client.parse::<IpAddr>().unwrap(), "{peer} {lines:?}");
        }
        let mut both = HeaderMap::new();
        both.append(xff, "203.0.113.9".parse().unwrap());
        both.append(forwarded, "for=1.1.1.1".parse().unwrap());
        assert_eq!(proxies.of("10.1.2.3:5".parse().unwrap(), &both), "203.0.113.9".parse::<IpAddr>().unwrap());
    }
}
