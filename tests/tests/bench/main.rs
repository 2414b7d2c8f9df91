//! Gates on figures: ratios of packet rates only, with slack for any machine.

mod rates;
