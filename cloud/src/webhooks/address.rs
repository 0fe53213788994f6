//! Where a subscriber may be: at a public address, or in a network that was allowed.
//!
//! The address is judged when the connection is made, after the name was looked up and by the
//! same look-up, so that a name which leads elsewhere a moment later leads nowhere.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// A network, such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Why a text names no network.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` names no network; write ADDRESS/BITS, such as 10.0.0.0/8")]
pub struct NoNetwork(String);

impl FromStr for Network {
    type Err = NoNetwork;
    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let no = || NoNetwork(text.to_owned());
        let (address, bits) = text.split_once('/').ok_or_else(no)?;
        let address: IpAddr = address.parse().map_err(|_| no())?;
        let bits: u8 = bits.parse().map_err(|_| no())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        if bits > most { Err(no()) } else { Ok(Self { address, bits }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Network {
    fn holds(&self, address: IpAddr) -> bool {
        let bits = u32::from(self.bits);
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(of)) => {
                let differ = own.to_bits() ^ of.to_bits();
                differ.checked_shr(32 - bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(of)) => {
                let differ = own.to_bits() ^ of.to_bits();
                differ.checked_shr(128 - bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// Looks names up, and keeps the addresses that may be connected to.
#[derive(Debug)]
pub(crate) struct Resolve {
    networks: Vec<Network>,
    system: DefaultResolver,
}

impl Resolve {
    pub(crate) fn new(networks: &[Network]) -> Self {
        Self { networks: networks.to_vec(), system: DefaultResolver::default() }
    }

    /// In the clear only within what was allowed.
    fn may(&self, address: IpAddr, secret: bool) -> bool {
        let address = address.to_canonical();
        let allowed = self.networks.iter().any(|network| network.holds(address));
        allowed || (secret && is_public(address))
    }
}

impl Resolver for Resolve {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.system.resolve(uri, config, timeout)?;
        let secret = uri.scheme_str() == Some("https");
        let mut kept = self.empty();
        let may = |address: &&SocketAddr| self.may(address.ip(), secret);
        for address in found.iter().filter(may) {
            kept.push(*address);
        }
        if kept.is_empty() {
            let why = "the address is not public, and its network is not allowed here";
            return Err(ureq::Error::Io(std::io::Error::other(why)));
        }
        Ok(kept)
    }
}

/// Not one of the ranges that IANA keeps for other uses than the public network.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let kept = a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b))
        || a >= 240;
    !(kept
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation())
}

/// Of what is given out as global unicast (2000::/3), without what carries an IPv4 address in
/// it or is for documents.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let global = (0x2000..0x4000).contains(&a);
    let kept = match a {
        0x2001 => b < 0x0200 || b == 0x0db8,
        0x2002 | 0x3fff => true,
        _ => false,
    };
    global && !kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_public_addresses_are_connected_to_unless_their_network_is_allowed() {
        let none = Resolve::new(&[]);
        for public in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1"] {
            assert!(none.may(address(public), true), "{public}");
            assert!(!none.may(address(public), false), "{public} in the clear");
        }
        let own = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
        ];
        for private in own {
            assert!(!none.may(address(private), true), "{private}");
        }
        let allowed: Vec<Network> =
            ["127.0.0.0/8", "fd00::/8"].map(|text| text.parse().unwrap()).to_vec();
        let some = Resolve::new(&allowed);
        for (text, may) in [
            ("127.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("fd12::1", true),
            ("10.0.0.1", false),
            ("fc00::1", false),
        ] {
            assert_eq!(some.may(address(text), false), may, "{text}");
        }
    }

    #[test]
    fn a_network_is_an_address_and_its_bits() {
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.holds(address("255.1.2.3")) && !all.holds(address("::1")));
        let one: Network = "10.0.0.1/32".parse().unwrap();
        assert!(one.holds(address("10.0.0.1")) && !one.holds(address("10.0.0.2")));
        assert_eq!(one.to_string(), "10.0.0.1/32");
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/x", "host/8", "/8"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_text_is_given_is_a_network_or_none(text in "\\PC{0,20}") {
            if let Ok(network) = text.parse::<Network>() {
                prop_assert!(network.holds(network.address));
            }
        }
    }
}
