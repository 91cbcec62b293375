//! Where the daemon may send to: public addresses over https, unless settings say more.
//!
//! An endpoint's URL comes from outside, and the daemon stands inside: without this, anyone who may make an
//! endpoint could have it call the cloud's metadata service. Names are checked again when they are resolved,
//! on the very address that is connected to, so that a name cannot change in between.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use url::{Host, Url};

/// The rules.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// Whether http is good enough.
    pub allow_http: bool,
    /// Networks that are reached although they are not public.
    pub allow_networks: Vec<IpNet>,
}

/// Why an address is not sent to.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// It cannot be read.
    #[error("it is no URL with a host")]
    Unreadable,
    /// Another scheme, or http where it is not allowed.
    #[error("it must begin with https:// (webhooks.allow_http allows http)")]
    Scheme,
    /// A user name or password stands in it.
    #[error("it must not hold a user name or password: use a custom header")]
    Credentials,
    /// The address is not a public one.
    #[error("{0} is not a public address (webhooks.allow_networks allows more)")]
    Address(IpAddr),
    /// The name has no address that is public.
    #[error("{0} has no public address (webhooks.allow_networks allows more)")]
    Name(String),
}

/// Whether an endpoint may have this URL; the URL as it is sent to.
pub fn check_url(text: &str, guard: &Guard) -> Result<Url, Refused> {
    let url = Url::parse(text.trim()).map_err(|_| Refused::Unreadable)?;
    match url.scheme() {
        "https" => {}
        "http" if guard.allow_http => {}
        _ => return Err(Refused::Scheme),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refused::Credentials);
    }
    let address = match url.host() {
        None => return Err(Refused::Unreadable),
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        Some(Host::Domain(name)) => is_localhost(name).then_some(Ipv4Addr::LOCALHOST.into()),
    };
    match address {
        Some(address) if !guard.permits(address) => Err(Refused::Address(address)),
        _ => Ok(url),
    }
}

/// `localhost` and what is below it are loopback by RFC 6761, whatever a resolver says.
fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

impl Guard {
    /// Whether this address may be connected to.
    pub fn permits(&self, address: IpAddr) -> bool {
        self.allow_networks.iter().any(|network| network.contains(&address))
            || match address {
                IpAddr::V4(address) => is_public_v4(address),
                IpAddr::V6(address) => is_public_v6(address),
            }
    }
}

/// What IANA's special-purpose registry says is not globally reachable, multicast, and two addresses that
/// clouds use for their own services.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match a {
        // This host; private; loopback; multicast, reserved and broadcast.
        0 | 10 | 127 | 224.. => true,
        // Carrier-grade NAT, with Alibaba's metadata service in it.
        100 => (64..128).contains(&b),
        // Link-local, with the metadata service of most clouds in it.
        169 => b == 254,
        172 => (16..32).contains(&b),
        // IETF protocols with Oracle's metadata service, documentation, 6to4 relays, private.
        192 => matches!((b, c), (0, 0 | 2) | (88, 99) | (168, _)),
        // Benchmarks, documentation.
        198 => matches!((b, c), (18 | 19, _) | (51, 100)),
        203 => (b, c) == (0, 113),
        _ => false,
    };
    // Azure's own service address, public by its number alone.
    !special && address != Ipv4Addr::new(168, 63, 129, 16)
}

/// Only global unicast, without those parts of it that lead elsewhere: unique-local, link-local, multicast,
/// IPv4-mapped and NAT64 addresses are all outside of 2000::/3.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let global = a & 0xe000 == 0x2000;
    let special = match a {
        // IETF protocols with Teredo and ORCHID (2001::/23), documentation.
        0x2001 => b < 0x0200 || b == 0x0db8,
        // 6to4.
        0x2002 => true,
        // Documentation.
        0x3fff => b < 0x1000,
        _ => false,
    };
    global && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pain point 16: the clouds' metadata services, and every spelling of the inside.
    #[test]
    fn addresses_that_are_not_public_are_refused() {
        let guard = Guard::default();
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.9",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.7",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!guard.permits(address.parse().expect("an address")), "{address}");
        }
    }

    #[test]
    fn public_addresses_are_permitted() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.0.1",
            "100.128.0.1",
            "169.253.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "203.0.112.1",
            "223.255.255.255",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700:4700::1111",
            "2a00:1450::1",
            "3fff:1000::1",
        ] {
            assert!(Guard::default().permits(address.parse().expect("an address")), "{address}");
        }
    }

    #[test]
    fn networks_in_the_settings_are_permitted_and_their_neighbours_are_not() {
        let guard = Guard {
            allow_http: false,
            allow_networks: vec!["10.9.0.0/16".parse().expect("a network")],
        };
        assert!(guard.permits("10.9.8.7".parse().expect("an address")));
        assert!(!guard.permits("10.8.8.7".parse().expect("an address")));
    }

    #[test]
    fn urls_are_refused_for_what_they_are() {
        let address = |text: &str| Refused::Address(text.parse().expect("an address"));
        for (url, why) in [
            ("not a url", Refused::Unreadable),
            ("https://", Refused::Unreadable),
            ("http://example.com/", Refused::Scheme),
            ("ftp://example.com/", Refused::Scheme),
            ("file:///etc/passwd", Refused::Scheme),
            ("https://user@example.com/", Refused::Credentials),
            ("https://user:password@example.com/", Refused::Credentials),
            ("https://127.0.0.1/", address("127.0.0.1")),
            ("https://0x7f.1/", address("127.0.0.1")),
            ("https://2130706433/", address("127.0.0.1")),
            ("https://017700000001/", address("127.0.0.1")),
            ("https://[::1]/", address("::1")),
            ("https://[::ffff:169.254.169.254]/", address("::ffff:169.254.169.254")),
            ("https://localhost/", address("127.0.0.1")),
            ("https://a.LocalHost./", address("127.0.0.1")),
        ] {
            assert_eq!(check_url(url, &Guard::default()), Err(why), "{url}");
        }
        let good = check_url("https://example.com:8443/hooks?a=b", &Guard::default());
        assert_eq!(good.map(String::from), Ok("https://example.com:8443/hooks?a=b".to_owned()));
        let open = Guard {
            allow_http: true,
            allow_networks: vec!["127.0.0.0/8".parse().expect("a network")],
        };
        for url in ["http://127.0.0.1:9/", "http://localhost:9/", "http://example.com/"] {
            assert!(check_url(url, &open).is_ok(), "{url}");
        }
    }
}
