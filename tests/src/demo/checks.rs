//! What the demo promises, and whether it held.

use serde::Serialize;

/// One promise.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// Stable name.
    pub name: &'static str,
    /// Whether it held.
    pub ok: bool,
    /// What was measured.
    pub value: usize,
    /// Of what.
    pub unit: &'static str,
    /// For people.
    #[serde(skip)]
    pub text: String,
}

/// All of them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Checks {
    checks: Vec<Check>,
}

impl Checks {
    /// Adds a promise with what was measured.
    pub fn add(
        &mut self,
        name: &'static str,
        ok: bool,
        value: usize,
        unit: &'static str,
        text: impl Into<String>,
    ) -> bool {
        self.checks.push(Check { name, ok, value, unit, text: text.into() });
        ok
    }

    /// Adds a promise that something never happened.
    pub fn none(
        &mut self,
        name: &'static str,
        count: usize,
        unit: &'static str,
        text: impl Into<String>,
    ) -> bool {
        self.add(name, count == 0, count, unit, text)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter()
    }

    /// Whether all held.
    pub fn all_held(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }

    /// `{"checks":[{"name","ok","value","unit"}]}`
    pub fn json(&self) -> String {
        let json = serde_json::to_string_pretty(self).expect("plain strings and numbers are valid JSON");
        format!("{json}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::Checks;

    #[test]
    fn json_has_the_four_fields() {
        let mut checks = Checks::default();
        checks.none("drain_failed_requests", 0, "requests", "text for people");
        let value: serde_json::Value = serde_json::from_str(&checks.json()).unwrap();
        let expected =
            serde_json::json!({"name": "drain_failed_requests", "ok": true, "value": 0, "unit": "requests"});
        assert_eq!(value, serde_json::json!({"checks": [expected]}));
    }

    #[test]
    fn one_broken_promise_is_enough() {
        let mut checks = Checks::default();
        checks.none("a", 0, "requests", "");
        assert!(checks.all_held());
        checks.none("b", 1, "requests", "");
        assert!(!checks.all_held());
    }
}
