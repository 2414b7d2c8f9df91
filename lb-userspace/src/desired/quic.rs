//! QUIC connection ids that name their server, as users write them (`1:4`, `0a0b0c0d`), and what goes together.

use std::{collections::BTreeMap, fmt, str::FromStr};

use lb_common::quic::{CONNECTION_ID_MAX, Layout, SERVER_ID_MAX, ServerKey};
use serde::{Deserialize, Serialize};

use super::{model::Service, text::as_text};
use crate::error::Error;

/// Where the server id stands in the connection ids of a service. Written `OFFSET:LENGTH`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct IdLayout {
    /// Bytes of the connection id before it.
    pub offset: u8,
    /// Its length, 1 to 8.
    pub length: u8,
}

/// A server id of 1 to 8 bytes. Written in hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ServerId {
    /// Its bytes, then zeros.
    bytes: [u8; SERVER_ID_MAX],
    length: u8,
}

impl fmt::Display for IdLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.offset, self.length)
    }
}

impl FromStr for IdLayout {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |what: &str| {
            Error::invalid(format!(
                "place of the server id {text:?}: {what}; write OFFSET:LENGTH in bytes of the connection id, such as 1:4"
            ))
        };
        let (offset, length) = text.split_once(':').ok_or_else(|| wrong("no colon"))?;
        let number = |text: &str| text.parse::<u8>().map_err(|_| wrong("not a number from 0 to 255"));
        let (offset, length) = (number(offset)?, number(length)?);
        if length == 0 || usize::from(length) > SERVER_ID_MAX {
            return Err(wrong("the length is not within 1 to 8"));
        }
        if u16::from(offset) + u16::from(length) > CONNECTION_ID_MAX.into() {
            return Err(wrong("it ends beyond the 20 bytes that a connection id has at most"));
        }
        Ok(Self { offset, length })
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes.iter().take(self.length.into()).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ServerId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |what: &str| {
            Error::invalid(format!("server id {text:?}: {what}; write 1 to 8 bytes such as 0a0b0c0d"))
        };
        if text.is_empty() || text.len() > 2 * SERVER_ID_MAX || !text.len().is_multiple_of(2) {
            return Err(wrong("not two digits for each of 1 to 8 bytes"));
        }
        let mut id = Self { bytes: [0; SERVER_ID_MAX], length: (text.len() / 2) as u8 };
        for (byte, digits) in id.bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            for digit in digits {
                let digit =
                    char::from(*digit).to_digit(16).ok_or_else(|| wrong("not all hexadecimal digits"))?;
                *byte = *byte << 4 | digit as u8;
            }
        }
        Ok(id)
    }
}

as_text!(IdLayout, ServerId);

impl From<IdLayout> for Layout {
    fn from(IdLayout { offset, length }: IdLayout) -> Self {
        Self { offset, length, reserved: [0; 2] }
    }
}

impl ServerId {
    /// The key under which the packet path finds the backend of a service.
    pub fn key(&self, service: u32) -> ServerKey {
        ServerKey { service, length: self.length.into(), id: self.bytes }
    }
}

/// Whether a service's connection ids can name the servers that they should.
pub(super) fn validate(service: &Service) -> Result<(), Error> {
    if service.quic_id.is_some() && !service.quic {
        return Err(Error::invalid("--quic-id is for services with --quic"));
    }
    let mut taken = BTreeMap::new();
    for (address, backend) in &service.backends {
        let Some(id) = backend.quic_server_id else { continue };
        let Some(layout) = service.quic_id else {
            return Err(Error::invalid(format!(
                "backend {address} has server id {id}, but nothing says where it stands in connection ids; give the \
                 service --quic-id OFFSET:LENGTH, or the backend --quic-server-id none"
            )));
        };
        if id.length != layout.length {
            return Err(Error::invalid(format!(
                "backend {address}: server id {id} has {} bytes, the service's --quic-id {layout} wants {}",
                id.length, layout.length
            )));
        }
        if let Some(other) = taken.insert(id, address) {
            return Err(Error::conflict(format!(
                "backends {other} and {address} have the same server id {id}; give each its own"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_read_as_they_are_written() {
        for text in ["1:4", "0:1", "12:8", "19:1"] {
            assert_eq!(text.parse::<IdLayout>().unwrap().to_string(), text);
        }
        for (text, part) in [
            ("4", "no colon"),
            ("1:x", "not a number"),
            ("-1:4", "not a number"),
            ("1:0", "1 to 8"),
            ("1:9", "1 to 8"),
            ("13:8", "20 bytes"),
            ("255:8", "20 bytes"),
        ] {
            let error = text.parse::<IdLayout>().unwrap_err();
            assert!(error.message.contains(part) && error.message.contains("1:4"), "{text}: {error}");
        }
    }

    #[test]
    fn server_ids_read_as_they_are_written() {
        for text in ["00", "0a0b", "ffffffffffffffff"] {
            assert_eq!(text.parse::<ServerId>().unwrap().to_string(), text);
        }
        assert_eq!("0A".parse::<ServerId>().unwrap().to_string(), "0a");
        let key = ServerKey { service: 7, length: 2, id: [1, 2, 0, 0, 0, 0, 0, 0] };
        assert_eq!("0102".parse::<ServerId>().unwrap().key(7), key);
        for text in ["", "0", "0x", "+1", "001122334455667788", "äö"] {
            let error = text.parse::<ServerId>().unwrap_err();
            assert!(error.message.contains("0a0b0c0d"), "{text}: {error}");
        }
    }
}
