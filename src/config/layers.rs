//! Where a configuration comes from: defaults, over them a file, over it variables, over them flags.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use serde::Deserialize as _;
use toml::{Table, Value};

use super::place::{File, printable};
use super::{Config, ConfigError, environment, nearest, schema};

/// A key that a variable or a flag sets.
#[derive(Clone, Debug)]
pub struct Setting {
    pub(super) key: String,
    value: Value,
    by: By,
    /// The value as it was written.
    text: String,
}

#[derive(Clone, Debug)]
enum By {
    Variable(String),
    Flag(&'static str),
}

impl Setting {
    /// A flag, `--listen`, and the key that it sets.
    #[must_use]
    pub fn flag(flag: &'static str, key: &str, value: Value) -> Self {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Self { key: key.to_owned(), value, by: By::Flag(flag), text }
    }

    pub(super) fn variable(key: &str, name: &str, text: &str, value: Value) -> Self {
        let (key, text) = (key.to_owned(), text.to_owned());
        Self { key, value, by: By::Variable(name.to_owned()), text }
    }

    fn shown(&self) -> String {
        let text = printable(&self.text);
        match &self.by {
            By::Variable(name) => format!("{name}={text}"),
            By::Flag(flag) => format!("{flag} {text}"),
        }
    }
}

/// Who has set a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// A line of the file, from 1 on.
    File(&'a Path, usize),
    /// A variable of the environment.
    Variable(&'a str),
    /// A flag of the command.
    Flag(&'static str),
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A configuration that is valid, and who has set what in it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    file: Option<File>,
    settings: BTreeMap<String, Setting>,
}

impl Loaded {
    /// Reads a file if there is one, and puts the environment and then the flags over it.
    ///
    /// # Errors
    /// The first thing that is not valid: with its place in the file, its variable or its flag.
    pub fn read(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: Vec<Setting>,
    ) -> Result<Self, ConfigError> {
        let file = file.map(open).transpose()?;
        let mut table = file.as_ref().map(parse).transpose()?.unwrap_or_default();
        let mut settings = BTreeMap::new();
        for setting in environment::settings(environment)?.into_iter().chain(flags) {
            insert(&mut table, &setting.key, setting.value.clone());
            settings.insert(setting.key.clone(), setting);
        }
        let config = Config::deserialize(Value::Table(table)).map_err(|error| {
            let (key, rule) = ("configuration".to_owned(), error.message().to_owned());
            ConfigError::Value { key, rule }
        })?;
        let loaded = Self { config, file, settings };
        match loaded.config.validate() {
            Ok(()) => Ok(loaded),
            Err(error) => Err(loaded.placed(error)),
        }
    }

    /// Checks what a server needs beyond valid values.
    ///
    /// # Errors
    /// As [`Config::check_exposure`] and [`Config::check_data_dir`], with the place.
    pub fn check(&self) -> Result<(), ConfigError> {
        let checked = self.config.check_exposure().and_then(|()| self.config.check_data_dir());
        checked.map_err(|error| self.placed(error))
    }

    /// Adds to what is wrong with a key where its value comes from.
    #[must_use]
    pub fn placed(&self, error: ConfigError) -> ConfigError {
        match error {
            ConfigError::Value { key, rule } => {
                let found = self.find(&key, Some(&key), &rule);
                found.unwrap_or(ConfigError::Value { key, rule })
            }
            ConfigError::Together { key, other, rule } => {
                let found = self.find(&key, Some(&key), &rule);
                let found = found.or_else(|| self.find(&other, Some(&key), &rule));
                found.unwrap_or(ConfigError::Together { key, other, rule })
            }
            known @ (ConfigError::Read { .. }
            | ConfigError::Placed { .. }
            | ConfigError::Set { .. }) => known,
        }
    }

    /// Who has set this key; nothing if it has its default.
    #[must_use]
    pub fn source(&self, key: &str) -> Option<Source<'_>> {
        if let Some(setting) = self.settings.get(key) {
            return Some(match &setting.by {
                By::Variable(name) => Source::Variable(name),
                By::Flag(flag) => Source::Flag(flag),
            });
        }
        let file = self.file.as_ref()?;
        let line = file.place(file.span(key)?).line;
        Some(Source::File(&file.path, line))
    }

    fn find(&self, at: &str, key: Option<&str>, rule: &str) -> Option<ConfigError> {
        // An item of a list that a variable sets has no place of its own.
        let whole = at.strip_suffix(']').and_then(|at| at.rsplit_once('[')).map(|(list, _)| list);
        let (key, rule) = (key.map(str::to_owned), rule.to_owned());
        if let Some(setting) =
            [Some(at), whole].into_iter().flatten().find_map(|at| self.settings.get(at))
        {
            return Some(ConfigError::Set { by: setting.shown(), key, rule });
        }
        let file = self.file.as_ref()?;
        let place = Box::new(file.place(file.span(at)?));
        Some(ConfigError::Placed { place, key, rule })
    }
}

fn open(path: &Path) -> Result<File, ConfigError> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    Ok(File::new(path, text))
}

/// The file as a table, of which each value has the type of its key.
fn parse(file: &File) -> Result<Table, ConfigError> {
    let typed = toml::from_str::<Config>(&file.text).map(drop);
    typed.and_then(|()| toml::from_str(&file.text)).map_err(|error| refusal(file, &error))
}

fn refusal(file: &File, error: &toml::de::Error) -> ConfigError {
    let message = error.message().trim_end().replace('\n', ", ");
    let Some(span) = error.span() else {
        let by = file.path.display().to_string();
        return ConfigError::Set { by, key: None, rule: message };
    };
    let place = Box::new(file.place(&span));
    if let Some(rule) = nearest::shortened(&message) {
        return ConfigError::Placed { place, key: None, rule };
    }
    // A name that does not exist has no key; neither has a text that is no TOML.
    let is_missing = message.starts_with("unknown ") || message.starts_with("missing ");
    let key = file.key_at(&span).filter(|_| !is_missing);
    let rule = match key.and_then(schema::of) {
        Some(schema) => explained(&message, &schema::expected(schema)),
        None => message,
    };
    ConfigError::Placed { place, key: key.map(str::to_owned), rule }
}

/// What the parser says of a wrong type, without names of Rust's types.
fn explained(message: &str, expected: &str) -> String {
    let kinds = ["invalid type: ", "invalid value: "];
    let found = kinds.iter().find_map(|kind| message.strip_prefix(kind));
    match found.and_then(|found| found.rsplit_once(", expected ")) {
        Some((found, _)) => format!("{found} instead of {expected}"),
        None => message.to_owned(),
    }
}

/// Sets `limits.names_max`.
pub(super) fn insert(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => drop(table.insert(key.to_owned(), value)),
        Some((section, key)) => {
            let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(section) = section {
                insert(section, key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests;
