//! Whether the numbers of a configuration are within the bounds that its schema names.

use serde_json::Value;

use super::{Config, ConfigError, schema};

/// # Errors
/// The first value that is not, by the order of keys.
pub(super) fn check_all(config: &Config) -> Result<(), ConfigError> {
    let config = serde_json::to_value(config).map_err(|error| {
        let (key, rule) = ("a path".to_owned(), error.to_string());
        ConfigError::Value { key, rule }
    })?;
    walk("", schema::schema(), &config)
}

/// As deep as the schema is.
fn walk(key: &str, schema: &Value, value: &Value) -> Result<(), ConfigError> {
    match value {
        Value::Number(number) => {
            let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
            let (min, max) = (bound("minimum").unwrap_or(0), bound("maximum").unwrap_or(u64::MAX));
            // A number that has a bound and is none of this kind does not exist here.
            number.as_u64().map_or(Ok(()), |number| check(key, number, min, max))
        }
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
            let Some(schema) = schema.pointer(&format!("/properties/{name}")) else {
                return Ok(());
            };
            let dot = if key.is_empty() { "" } else { "." };
            walk(&format!("{key}{dot}{name}"), schema, value)
        }),
        Value::Array(items) => items.iter().enumerate().try_for_each(|(index, value)| {
            let Some(schema) = schema.get("items") else { return Ok(()) };
            walk(&format!("{key}[{index}]"), schema, value)
        }),
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

/// # Errors
/// A value that is not within them.
pub(super) fn check(key: &str, value: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let rule = format!("must be {min} to {max}, not {value}");
    Err(ConfigError::Value { key: key.to_owned(), rule })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_refused_just_beyond_its_bounds() {
        let mut numbers = 0;
        for key in schema::keys() {
            if schema::kind(key.schema) != Some("integer") {
                continue;
            }
            let (section, name) = key.path.rsplit_once('.').unwrap_or(("", &key.path));
            numbers += 1;
            let bound = |name: &str| key.schema.get(name).and_then(Value::as_u64).unwrap();
            let (min, max) = (bound("minimum"), bound("maximum"));
            let refusal = |value: u64| {
                let header =
                    if section.is_empty() { String::new() } else { format!("[{section}]") };
                let config = toml::from_str::<Config>(&format!("{header}\n{name} = {value}\n"));
                check_all(&config.unwrap()).err().map(|error| error.to_string())
            };
            let rule =
                |value| format!("configuration: {}: must be {min} to {max}, not {value}", key.path);
            assert_eq!((refusal(min), refusal(max)), (None, None), "{}", key.path);
            if let Some(below) = min.checked_sub(1) {
                assert_eq!(refusal(below), Some(rule(below)));
            }
            // The type or TOML itself refuses what is beyond the largest number of either.
            if max < u64::from(u32::MAX) && max != u64::from(u16::MAX) {
                assert_eq!(refusal(max + 1), Some(rule(max + 1)));
            }
        }
        assert!(numbers > 20, "{numbers}");
    }

    #[test]
    fn what_stands_in_lists_of_tables_is_checked_too() {
        let policy = |line: &str| {
            let config: Config =
                toml::from_str(&format!("[[policy]]\nnames = \"a\"\n{line}\n")).unwrap();
            check_all(&config).err().map(|error| error.to_string())
        };
        assert_eq!(policy("partitions = 16\nretention_ms = 1"), None);
        let said = |key: &str, rule: &str| Some(format!("configuration: policy[0].{key}: {rule}"));
        assert_eq!(policy("partitions = 17"), said("partitions", "must be 1 to 16, not 17"));
        let largest = i64::MAX;
        let rule = format!("must be 1 to {largest}, not 0");
        assert_eq!(policy("retention_ms = 0"), said("retention_ms", &rule));
    }
}
