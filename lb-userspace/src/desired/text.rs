//! How addresses are written by users: `192.0.2.1:80/tcp`, `[2001:db8::1]:53/udp`, `10.9.0.0/16`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use super::model::{Prefix, Protocol, Vip};
use crate::error::Error;

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl fmt::Display for Vip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = if self.is_prefix() { format!("/{}", self.length) } else { String::new() };
        match self.address {
            IpAddr::V4(address) => write!(f, "{address}{length}")?,
            IpAddr::V6(address) => write!(f, "[{address}{length}]")?,
        }
        let last = if self.is_range() { format!("-{}", self.last_port) } else { String::new() };
        write!(f, ":{}{last}/{}", self.port, self.protocol)
    }
}

impl FromStr for Vip {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |what: &str| {
            Error::invalid(format!(
                "service address {text:?}: {what}; write ADDRESS:PORT/tcp, /udp or /sctp, such as 192.0.2.1:80/tcp or \
                 [2001:db8::1]:53/udp (port 0: any port), with a range as 192.0.2.1:8000-8100/tcp, \
                 with a prefix as 192.0.2.0/24:443/tcp or [2001:db8::/64]:443/tcp"
            ))
        };
        let (socket, protocol) = text.rsplit_once('/').ok_or_else(|| wrong("no protocol"))?;
        let (addresses, ports) = socket.rsplit_once(':').ok_or_else(|| wrong("no port"))?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            _ => return Err(wrong("the protocol is none of tcp, udp and sctp")),
        };
        let (port, last_port) = self::ports(ports).map_err(wrong)?;
        let (address, length) = self::addresses(addresses).map_err(wrong)?;
        Ok(Self { address, length, port, last_port, protocol })
    }
}

/// The first and the last port, which are the same for one.
fn ports(text: &str) -> Result<(u16, u16), &'static str> {
    let port = |text: &str| text.parse().map_err(|_| "the port is not a number from 0 to 65535");
    let Some((first, last)) = text.split_once('-') else {
        let port = port(text)?;
        return Ok((port, port));
    };
    let (first, last): (u16, u16) = (port(first)?, port(last)?);
    if first == 0 {
        return Err("a range begins with port 1 or above");
    }
    if last < first {
        return Err("the range ends before it begins");
    }
    Ok((first, last))
}

/// An address with the length of its prefix.
fn addresses(text: &str) -> Result<(IpAddr, u8), &'static str> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let (address, length) = match bare.unwrap_or(text).split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (bare.unwrap_or(text), None),
    };
    let address: IpAddr = match bare {
        Some(_) => IpAddr::V6(address.parse().map_err(|_| "no IPv6 address in the brackets")?),
        None => IpAddr::V4(address.parse().map_err(|_| "no IPv4 address (IPv6 goes in brackets)")?),
    };
    let whole = Prefix { address, length: if address.is_ipv4() { 32 } else { 128 } };
    let length =
        length.map_or(Ok(whole.length), |length| length.parse().map_err(|_| "the length is not a number"))?;
    let prefix = Prefix { address, length };
    if length == 0 || length > whole.length {
        return Err("the length of the prefix is 0 or exceeds the address");
    }
    if prefix.has_host_bits() {
        return Err("bits beyond the length of the prefix are set");
    }
    if address.is_unspecified() || prefix.reaches_multicast() {
        return Err("not a unicast address");
    }
    Ok((address, length))
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl FromStr for Prefix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |what: &str| {
            Error::invalid(format!("prefix {text:?}: {what}; write ADDRESS/LENGTH, such as 10.9.0.0/16"))
        };
        let (address, length) = text.split_once('/').ok_or_else(|| wrong("no length"))?;
        let address: IpAddr = address.parse().map_err(|_| wrong("not an address"))?;
        let length: u8 = length.parse().map_err(|_| wrong("the length is not a number"))?;
        let prefix = Self { address, length };
        if length > prefix.width() {
            return Err(wrong("the length exceeds the address"));
        }
        if prefix.has_host_bits() {
            return Err(wrong("bits beyond the length are set"));
        }
        Ok(prefix)
    }
}

impl Prefix {
    /// Bits of the address family.
    const fn width(&self) -> u8 {
        match self.address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        }
    }

    /// Bits of the address that the length leaves free.
    pub const fn host_bits(&self) -> u8 {
        self.width().saturating_sub(self.length)
    }

    /// Whether any of its addresses is a multicast address.
    fn reaches_multicast(&self) -> bool {
        let beyond = |last: Ipv4Addr| last >= Ipv4Addr::new(224, 0, 0, 0);
        match (self.address, self.last()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => first.is_multicast() || beyond(last) && !beyond(first),
            (_, last) => last.is_multicast(),
        }
    }

    /// Its last address.
    fn last(&self) -> IpAddr {
        let host_bits = u32::from(self.host_bits());
        match self.address {
            IpAddr::V4(v4) => {
                let mask = 1u32.checked_shl(host_bits).unwrap_or(0).wrapping_sub(1);
                Ipv4Addr::from_bits(v4.to_bits() | mask).into()
            }
            IpAddr::V6(v6) => {
                let mask = 1u128.checked_shl(host_bits).unwrap_or(0).wrapping_sub(1);
                Ipv6Addr::from_bits(v6.to_bits() | mask).into()
            }
        }
    }

    fn has_host_bits(&self) -> bool {
        let host_bits = u32::from(self.host_bits());
        match self.address {
            IpAddr::V4(v4) => v4.to_bits() & 1u32.checked_shl(host_bits).unwrap_or(0).wrapping_sub(1) != 0,
            IpAddr::V6(v6) => v6.to_bits() & 1u128.checked_shl(host_bits).unwrap_or(0).wrapping_sub(1) != 0,
        }
    }
}

macro_rules! as_text {
    ($($written:ty),+) => {
        $(
            impl From<$written> for String {
                fn from(value: $written) -> Self {
                    value.to_string()
                }
            }

            impl TryFrom<String> for $written {
                type Error = Error;

                fn try_from(text: String) -> Result<Self, Error> {
                    text.parse()
                }
            }
        )+
    };
}

pub(super) use as_text;

as_text!(Vip, Prefix);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_addresses_read_as_they_are_written() {
        for text in [
            "192.0.2.1:80/tcp",
            "[2001:db8::1]:53/udp",
            "192.0.2.1:0/tcp",
            "192.0.2.1:5060/sctp",
            "192.0.2.1:8000-8100/tcp",
            "192.0.2.1:1-65535/udp",
            "192.0.2.0/24:443/tcp",
            "[2001:db8::/64]:0/udp",
            "[2001:db8::/64]:7-9/udp",
        ] {
            assert_eq!(text.parse::<Vip>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn wrong_service_addresses_say_what_is_wrong() {
        for (text, part) in [
            ("192.0.2.1:80", "no protocol"),
            ("192.0.2.1:80/dccp", "none of tcp, udp and sctp"),
            ("192.0.2.1:70000/tcp", "from 0 to 65535"),
            ("192.0.2.1/tcp", "no port"),
            ("2001:db8::1:80/tcp", "brackets"),
            ("0.0.0.0:80/tcp", "unicast"),
            ("[ff02::1]:80/tcp", "unicast"),
            ("0.0.0.0/8:80/tcp", "unicast"),
            ("192.0.0.0/2:80/tcp", "unicast"),
            ("192.0.2.0/0:80/tcp", "the length of the prefix"),
            ("192.0.2.0/33:80/tcp", "the length of the prefix"),
            ("192.0.2.0/x:80/tcp", "not a number"),
            ("192.0.2.1/24:80/tcp", "bits beyond"),
            ("[2001:db8::1/64]:80/tcp", "bits beyond"),
            ("2001:db8::/64:80/tcp", "brackets"),
            ("192.0.2.1:0-80/tcp", "begins with port 1"),
            ("192.0.2.1:90-80/tcp", "ends before it begins"),
            ("192.0.2.1:80-/tcp", "from 0 to 65535"),
        ] {
            let error = text.parse::<Vip>().unwrap_err();
            assert!(error.message.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn prefixes() {
        assert_eq!("10.9.0.0/16".parse::<Prefix>().unwrap().host_bits(), 16);
        assert_eq!("::/0".parse::<Prefix>().unwrap().host_bits(), 128);
        for text in ["10.9.0.1/16", "10.9.0.0/33", "10.9.0.0", "x/8"] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }
}
