//! Whatever is commanded.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::cluster::meta::command::tests::command;

/// Joins and drains of a few nodes, so that commands mean something, among anything at all.
fn any_command() -> impl Strategy<Value = MetaCommand> {
    let node = || (1..9_u64).prop_map(id);
    prop_oneof![
        1 => Just(found()),
        2 => (1..9_u64).prop_map(join),
        1 => (node(), any::<bool>()).prop_map(|(node, on)| MetaCommand::Drain { node, on }),
        1 => node().prop_map(|node| MetaCommand::Remove { node }),
        3 => command(),
    ]
}

proptest! {
    #[test]
    fn the_same_commands_give_the_same_state_and_twice_is_as_good_as_once(
        commands in vec(any_command(), 1..60),
    ) {
        let (mut one, mut other) = (founded(), founded());
        for command in commands {
            let before = one.clone();
            let outcome = one.apply(&command);
            prop_assert_eq!(&outcome, &other.apply(&command));
            let is_changed = outcome == Ok(Outcome::Changed);
            prop_assert_eq!(one.revision, before.revision + u64::from(is_changed));
            prop_assert_eq!(one != before, is_changed);
            if outcome.is_ok() {
                let again = one.clone();
                prop_assert_eq!(one.apply(&command), Ok(Outcome::Unchanged));
                prop_assert_eq!(&one, &again);
            }
            prop_assert!(!one.active().is_empty(), "somebody is there");
            prop_assert!(one.feature_level >= before.feature_level);
            prop_assert!(one.feature_level <= one.feature_level_max());
            prop_assert!(before.removed().is_subset(&one.removed()));
            prop_assert!(one.placement.without_majority(&one.removed()) == 0);
            if let Some(due) = one.placement_due() {
                prop_assert_eq!(one.apply(&due), other.apply(&due));
                prop_assert_eq!(one.placement_due(), None);
            }
        }
        prop_assert_eq!(one, other);
    }
}
