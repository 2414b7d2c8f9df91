//! Words of the command line that become values.

use std::str::FromStr;

use crate::{
    desired::command::{Change, EncapSource},
    error::Error,
};

pub(super) fn weight() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(0..=65_535)
}

pub(super) fn milliseconds(text: &str) -> Result<u64, String> {
    let duration = humantime::parse_duration(text).map_err(|error| format!("{error}; write 500ms or 2s"))?;
    u64::try_from(duration.as_millis()).map_err(|_| "too long".to_owned())
}

pub(super) fn encap_source(text: &str) -> Result<EncapSource, Error> {
    Ok(match text {
        "interface" => EncapSource::Interface,
        prefix => EncapSource::Prefix(prefix.parse()?),
    })
}

pub(super) fn or_none<T: FromStr<Err = Error>>(text: &str) -> Result<Change<T>, Error> {
    Ok(match text {
        "none" => Change::None,
        value => Change::To(value.parse()?),
    })
}

pub(super) fn status_range(text: &str) -> Result<(u16, u16), String> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    match (low.parse(), high.parse()) {
        (Ok(low), Ok(high)) => Ok((low, high)),
        _ => Err("write a status as 200, or a range as 200-399".to_owned()),
    }
}
