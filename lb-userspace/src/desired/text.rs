//! How addresses are written by users: `192.0.2.1:80/tcp`, `[2001:db8::1]:53/udp`, `10.9.0.0/16`.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
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
        write!(f, "{}/{}", SocketAddr::new(self.address, self.port), self.protocol)
    }
}

impl FromStr for Vip {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |what: &str| {
            Error::invalid(format!(
                "service address {text:?}: {what}; write ADDRESS:PORT/tcp, /udp or /sctp, \
                 such as 192.0.2.1:80/tcp or [2001:db8::1]:53/udp (port 0: any port)"
            ))
        };
        let (socket, protocol) = text.rsplit_once('/').ok_or_else(|| wrong("no protocol"))?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            _ => return Err(wrong("the protocol is none of tcp, udp and sctp")),
        };
        let (address, port) = socket.rsplit_once(':').ok_or_else(|| wrong("no port"))?;
        let port = port.parse().map_err(|_| wrong("the port is not a number from 0 to 65535"))?;
        let address: IpAddr = match address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(v6) => IpAddr::V6(v6.parse().map_err(|_| wrong("no IPv6 address in the brackets"))?),
            None => {
                IpAddr::V4(address.parse().map_err(|_| wrong("no IPv4 address (IPv6 goes in brackets)"))?)
            }
        };
        if address.is_unspecified() || address.is_multicast() {
            return Err(wrong("not a unicast address"));
        }
        Ok(Self { address, port, protocol })
    }
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

as_text!(Vip, Prefix);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_addresses_read_as_they_are_written() {
        for text in ["192.0.2.1:80/tcp", "[2001:db8::1]:53/udp", "192.0.2.1:0/tcp", "192.0.2.1:5060/sctp"] {
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
