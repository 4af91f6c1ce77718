//! What somebody may have meant by a name that does not exist.

/// How alike two names must be: 1 for equal ones.
const ALIKE_MIN: f64 = 0.85;

/// The one of these names that is most like a wrong one, if it is like it at all.
pub(super) fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let alike = |name: &str| strsim::jaro_winkler(wrong, name);
    let nearest = known.max_by(|one, other| alike(one).total_cmp(&alike(other)))?;
    (alike(nearest) >= ALIKE_MIN).then_some(nearest)
}

/// A message of the parser that lists all names, with the nearest one in their place.
pub(super) fn shortened(message: &str) -> Option<String> {
    let kinds = [("unknown field `", "key"), ("unknown variant `", "value")];
    let (kind, rest) = kinds
        .iter()
        .find_map(|(begin, kind)| message.split_once(begin).map(|(_, rest)| (kind, rest)))?;
    let (wrong, rest) = rest.split_once('`')?;
    let nearest = nearest(wrong, rest.split('`').skip(1).step_by(2))?;
    Some(format!("unknown {kind} `{wrong}`: did you mean `{nearest}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn said_of(text: &str) -> Option<String> {
        shortened(toml::from_str::<Config>(text).unwrap_err().message())
    }

    #[test]
    fn a_typo_is_told_from_another_thing() {
        let said = |text: &str| said_of(text).unwrap_or_default();
        let listen = "unknown key `lissten`: did you mean `listen`?";
        assert_eq!(said("lissten = \"127.0.0.1:1\""), listen);
        let connections = "unknown key `connection_max`: did you mean `connections_max`?";
        assert_eq!(said("[limits]\nconnection_max = 1"), connections);
        let policy = "[[policy]]\nnames = \"a\"\nretention_record = 1";
        let records = "unknown key `retention_record`: did you mean `retention_records`?";
        assert_eq!(said(policy), records);
        let durability = "[[policy]]\nnames = \"a\"\ndurability = \"disc\"";
        assert_eq!(said(durability), "unknown value `disc`: did you mean `disk`?");
        for other in ["zookeeper", "nonsense", "x"] {
            assert_eq!(said_of(&format!("{other} = true")), None, "{other}");
        }
        assert_eq!(said_of("listen = 1"), None);
    }
}
