//! What somebody may have meant by a name that does not exist.

/// How alike two names must be: 1 for equal ones.
const ALIKE_MIN: f64 = 0.85;

/// A line that names the nearest of the names that an error of the parser lists.
pub(super) fn hint(message: &str) -> Option<String> {
    let (_, rest) = ["unknown field `", "unknown variant `"]
        .iter()
        .find_map(|begin| message.split_once(begin))?;
    let (wrong, rest) = rest.split_once('`')?;
    let known = rest.split('`').skip(1).step_by(2);
    let alike = |name: &&str| strsim::jaro_winkler(wrong, name);
    let nearest = known.max_by(|one, other| alike(one).total_cmp(&alike(other)))?;
    (alike(&nearest) >= ALIKE_MIN).then(|| format!("did you mean `{nearest}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn hint_of(text: &str) -> Option<String> {
        hint(&toml::from_str::<Config>(text).unwrap_err().to_string())
    }

    #[test]
    fn a_typo_is_told_from_another_thing() {
        let meant = |text: &str| hint_of(text).unwrap_or_default();
        assert_eq!(meant("lissten = \"127.0.0.1:1\""), "did you mean `listen`?");
        assert_eq!(meant("[limits]\nconnection_max = 1"), "did you mean `connections_max`?");
        let policy = "[[policy]]\nnames = \"a\"\nretention_record = 1";
        assert_eq!(meant(policy), "did you mean `retention_records`?");
        let durability = "[[policy]]\nnames = \"a\"\ndurability = \"disc\"";
        assert_eq!(meant(durability), "did you mean `disk`?");
        for other in ["zookeeper", "nonsense", "x"] {
            assert_eq!(hint_of(&format!("{other} = true")), None, "{other}");
        }
        assert_eq!(hint_of("listen = 1"), None);
    }
}
