//! What a configuration may hold, as a JSON Schema (draft 2020-12) that is made from its types.
//!
//! It is for editors, and for the server itself: bounds are checked against it, and the variables of
//! the environment are its keys.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::Config;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let mut schema = settings.into_generator().into_root_schema_for::<Config>().to_value();
    mend(&mut schema);
    schema
});

/// The schema.
pub(super) fn schema() -> &'static Value {
    &SCHEMA
}

/// The schema as it stands in `config/tidewire.schema.json`.
#[must_use]
pub fn schema_text() -> String {
    format!("{:#}\n", schema())
}

/// A key with a plain value or a list of such: what a variable can set.
pub(super) struct Key {
    /// `limits.names_max`.
    pub(super) path: String,
    pub(super) schema: &'static Value,
}

/// All keys that are not in lists of tables.
pub(super) fn keys() -> Vec<Key> {
    let mut keys = Vec::new();
    collect("", schema(), &mut keys);
    keys
}

fn collect(section: &str, schema: &'static Value, into: &mut Vec<Key>) {
    for (name, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten()
    {
        let dot = if section.is_empty() { "" } else { "." };
        let path = format!("{section}{dot}{name}");
        let is_table = |schema: Option<&Value>| schema.is_some_and(|s| kind(s) == Some("object"));
        if is_table(Some(schema)) {
            collect(&path, schema, into);
        } else if !is_table(schema.get("items")) {
            into.push(Key { path, schema });
        }
    }
}

/// What is known of a key, `policy[0].names`.
pub(super) fn of(path: &str) -> Option<&'static Value> {
    path.split('.').try_fold(schema(), |schema, step| {
        let mut parts = step.split('[');
        let field = schema.get("properties")?.get(parts.next()?)?;
        parts.try_fold(field, |list, _index| list.get("items"))
    })
}

/// Whether the value of a key is not for everybody's eyes.
#[must_use]
pub fn is_secret(path: &str) -> bool {
    of(path).and_then(|schema| schema.get("writeOnly")) == Some(&Value::Bool(true))
}

pub(super) fn kind(schema: &Value) -> Option<&str> {
    schema.get("type").and_then(Value::as_str)
}

/// What a value has to be, for people.
pub(super) fn expected(schema: &Value) -> String {
    let alternatives = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let names: Vec<String> =
        alternatives.filter_map(|one| one.get("const")).map(Value::to_string).collect();
    if !names.is_empty() {
        return format!("one of {}", names.join(", "));
    }
    match (kind(schema), schema.get("minimum"), schema.get("maximum")) {
        (Some("integer"), Some(min), Some(max)) => format!("a whole number from {min} to {max}"),
        (Some("boolean"), ..) => "true or false".to_owned(),
        (Some("array"), ..) if schema.pointer("/items/type") == Some(&"string".into()) => {
            "a list such as [\"a\", \"b\"]".to_owned()
        }
        (Some("array"), ..) => "a list".to_owned(),
        (Some("object"), ..) => "a table".to_owned(),
        _ => match schema.get("default") {
            Some(default) => format!("text such as {default}"),
            None => "text".to_owned(),
        },
    }
}

/// TOML has no null, so a key that may be absent is not said to be null; lines of comments are joined.
fn mend(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    be_there(fields);
    if fields.get("default").is_some_and(|default| default.is_null() || default.is_object()) {
        fields.remove("default");
    }
    for table in fields.get_mut("default").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(table) = table.as_object_mut() {
            table.retain(|_, value| !value.is_null());
        }
    }
    // Names of Rust's types.
    if fields.get("format").and_then(Value::as_str).is_some_and(|name| name.starts_with("uint")) {
        fields.remove("format");
    }
    if let Some(Value::String(text)) = fields.get_mut("description") {
        *text = text.split('\n').collect::<Vec<_>>().join(" ");
    }
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(mend);
    }
    if let Some(Value::Array(alternatives)) = fields.get_mut("oneOf") {
        alternatives.iter_mut().for_each(mend);
    }
    if let Some(items) = fields.get_mut("items") {
        mend(items);
    }
}

/// Turns "this or null" into "this".
fn be_there(fields: &mut Map<String, Value>) {
    if let Some(Value::Array(kinds)) = fields.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [kind] = kinds.as_slice() {
            let kind = kind.clone();
            fields.insert("type".to_owned(), kind);
        }
    }
    if let Some(Value::Array(any)) = fields.remove("anyOf") {
        let is_null = |schema: &Value| kind(schema) == Some("null");
        match any.as_slice() {
            [Value::Object(this), null] if is_null(null) => {
                for (name, value) in this {
                    fields.entry(name).or_insert_with(|| value.clone());
                }
            }
            _ => drop(fields.insert("anyOf".to_owned(), Value::Array(any))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each schema of a value, by its key.
    fn all(path: &str, schema: &Value, see: &mut impl FnMut(&str, &Value)) {
        see(path, schema);
        for (name, schema) in
            schema.get("properties").and_then(Value::as_object).into_iter().flatten()
        {
            all(&format!("{path}/{name}"), schema, see);
        }
        if let Some(items) = schema.get("items") {
            all(&format!("{path}[]"), items, see);
        }
    }

    #[test]
    fn the_file_is_what_the_types_say() {
        assert!(
            include_str!("../../config/tidewire.schema.json") == schema_text(),
            "config/tidewire.schema.json is stale: write it anew, with \
             `cargo run -q -- config schema > config/tidewire.schema.json`"
        );
    }

    #[test]
    fn each_key_is_described_and_each_number_has_bounds() {
        let (mut tables, mut numbers) = (0, 0);
        all("", schema(), &mut |path, schema| {
            if !path.ends_with(']') {
                assert!(schema.get("description").is_some(), "{path} is not described");
            }
            assert!(schema.get("anyOf").is_none() && schema.get("$ref").is_none(), "{path}");
            match kind(schema) {
                Some("object") => {
                    tables += 1;
                    assert_eq!(schema.get("additionalProperties"), Some(&false.into()), "{path}");
                }
                Some("integer") => {
                    numbers += 1;
                    assert!(schema.get("minimum").is_some(), "{path} has no minimum");
                    assert!(schema.get("maximum").is_some(), "{path} has no maximum");
                }
                Some("string" | "boolean" | "array") => {}
                _ => assert!(schema.get("oneOf").is_some(), "{path}: {schema}"),
            }
        });
        assert!(tables > 10 && numbers > 25, "{tables} tables, {numbers} numbers");
    }

    #[test]
    fn the_defaults_are_those_of_the_server() {
        let config = serde_json::to_value(Config::default()).unwrap();
        for Key { path, schema } in keys() {
            let value = config.pointer(&format!("/{}", path.replace('.', "/"))).unwrap();
            let default = schema.get("default").unwrap_or(&Value::Null);
            assert_eq!(default, value, "{path}");
        }
    }

    #[test]
    fn the_shipped_file_names_each_key_and_the_schema() {
        let shipped = include_str!("../../config/tidewire.toml");
        assert!(shipped.starts_with("#:schema ./tidewire.schema.json\n"));
        let words = |line: &str| line.trim_start_matches(['#', ' ']).to_owned();
        let lines: Vec<String> = shipped.lines().map(words).collect();
        all("", schema(), &mut |path, schema| {
            let name = path.rsplit('/').next().unwrap_or_default();
            let is_value =
                kind(schema) != Some("object") && !name.ends_with(']') && !name.is_empty();
            // What a list of tables is called stands in its header, and rules in one line.
            let forms = [
                format!("{name} = "),
                format!(".{name}]]"),
                format!("[[{name}]]"),
                format!("{{ {name} = "),
            ];
            let is_in = |line: &String| forms.iter().any(|form| line.contains(form.as_str()));
            assert!(
                !is_value || lines.iter().any(is_in),
                "config/tidewire.toml does not name {path}"
            );
        });
    }

    #[test]
    fn the_shipped_file_says_the_bounds_of_each_number() {
        let shipped = include_str!("../../config/tidewire.toml");
        let policy = of("policy[0]").and_then(|schema| schema.get("properties"));
        let policy = policy.and_then(Value::as_object).unwrap().iter();
        let policy = policy.map(|(name, schema)| Key { path: name.clone(), schema });
        for Key { path, schema } in keys().into_iter().chain(policy) {
            if kind(schema) != Some("integer")
                || path.contains("requests_per_s")
                || path == "idle_timeout_ms"
            {
                continue;
            }
            let name = path.rsplit('.').next().unwrap_or_default();
            let bound = |bound: &str| schema.get(bound).and_then(Value::as_u64).unwrap();
            let (min, max) = (bound("minimum"), bound("maximum"));
            // Two sections may have keys of one name.
            let section = path.rsplit_once('.').map(|(section, _)| format!("\n[{section}]\n"));
            let from = section.and_then(|section| shipped.find(&section)).unwrap_or_default();
            let section = &shipped[from..];
            let end = section
                .find(&format!("\n{name} = "))
                .or_else(|| section.find(&format!("\n# {name} = ")));
            let before = section[..end.unwrap()].rsplit("\n\n").next().unwrap();
            let comment: Vec<&str> =
                before.lines().rev().take_while(|line| line.starts_with("# ")).collect();
            let comment = comment.into_iter().rev().collect::<Vec<_>>().join(" ");
            let forms =
                [format!("{min} to {max}"), format!("at most {max}"), format!("From {min} on")];
            // Where 0 means something else, that and the smallest of the others are said.
            let has_another_zero =
                min == 0 && comment.contains(" 0: ") && comment.contains("From ");
            let is_said = forms.iter().any(|form| comment.contains(form.as_str()));
            assert!(is_said || has_another_zero, "{path}: {comment}");
        }
    }

    #[test]
    fn what_is_expected_is_said_for_people() {
        let said = |path: &str| expected(of(path).unwrap());
        assert_eq!(said("cores"), "a whole number from 0 to 64");
        assert_eq!(said("insecure"), "true or false");
        assert_eq!(said("listen"), "text such as \"127.0.0.1:7171\"");
        assert_eq!(said("data_dir"), "text");
        assert_eq!(said("http.allowed_origins"), "a list such as [\"a\", \"b\"]");
        assert_eq!(said("policy"), "a list");
        assert_eq!(said("policy[3].ack"), "one of \"memory\", \"disk\"");
        assert_eq!(said("auth"), "a table");
        assert!(of("auth.nonsense").is_none() && of("policy[0]").is_some());
        assert!(is_secret("auth.api_key[0].sha256") && !is_secret("auth.api_key[0].name"));
    }
}
