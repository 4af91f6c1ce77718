use std::string::ToString;
use std::vec;

use proptest::prelude::*;
use tidewire_protocol::Name;

use super::*;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn list(source: &str, subject: Option<&str>, rules: &[(&str, &[Operation])]) -> RuleList {
    let rules = rules.iter().zip(1..).filter_map(|((names, allow), number)| {
        Rule::for_subject(number, names, allow.iter().copied().collect(), subject)
    });
    RuleList { source: source.into(), rules: rules.collect(), acts_for_others: false }
}

#[test]
fn the_first_rule_that_matches_decides_within_a_list_and_lists_add_up() {
    use Operation::{Publish, Subscribe};
    let viewer = list("role 'viewer'", None, &[("secret.>", &[]), (">", &[Subscribe])]);
    let writer = list("role 'writer'", None, &[("secret.log", &[Publish])]);
    let permissions = Permissions { lists: vec![viewer.clone(), writer] };
    assert_eq!(permissions.operations(&name("news")), Operations::from_iter([Subscribe]));
    assert_eq!(permissions.operations(&name("secret.log")), Operations::from_iter([Publish]));
    assert_eq!(permissions.operations(&name("secret.keys")), Operations::NONE);
    assert_eq!(permissions.operations(&name("$sys.audit")), Operations::NONE);

    let denied = permissions.explain(Subscribe, &name("secret.log"));
    assert!(!denied.is_allowed);
    assert_eq!(
        denied.refusal("ann", Subscribe, &name("secret.log")),
        "'ann' may not subscribe 'secret.log': rule 1 of role 'viewer' allows nothing on \
         'secret.>'; rule 1 of role 'writer' allows publish on 'secret.log'"
    );
    let allowed = permissions.explain(Publish, &name("secret.log"));
    assert!(allowed.is_allowed);
    assert_eq!(allowed.to_string(), "rule 1 of role 'writer' allows publish on 'secret.log'");
    let nothing = Permissions { lists: vec![] };
    assert!(nothing.explain(Publish, &name("a")).to_string().contains("no role"));
}

#[test]
fn an_identity_is_one_token_of_a_name_and_never_a_wildcard() {
    use Operation::Publish;
    let of = |subject| {
        let lists = vec![list("the token", subject, &[("user.{identity}.>", &[Publish])])];
        Permissions { lists }
    };
    let may = |subject, topic: &str| of(subject).explain(Publish, &name(topic)).is_allowed;
    assert!(may(Some("ann"), "user.ann.inbox"));
    assert!(!may(Some("ann"), "user.bob.inbox"));
    for subject in ["*", ">", "a.b", "", "bob.inbox", "a b", "a\n", "ann.*"] {
        assert!(!may(Some(subject), "user.bob.inbox"), "{subject:?}");
        assert!(!may(Some(subject), "user.a.b.inbox"), "{subject:?}");
    }
    assert!(!may(None, "user.{identity}.inbox"));
}

fn operations() -> impl Strategy<Value = Operations> {
    proptest::collection::vec(0_usize..8, 0..4)
        .prop_map(|chosen| chosen.into_iter().map(|index| Operation::ALL[index]).collect())
}

proptest! {
    #[test]
    fn what_is_explained_is_what_is_decided(
        lists in proptest::collection::vec(
            proptest::collection::vec(("(a|b|\\*|>|a\\.>|a\\.b|\\*\\.b)", operations()), 0..5),
            0..4,
        ),
        topic in "(a|b)(\\.(a|b)){0,2}",
    ) {
        let lists = lists.into_iter().map(|rules| {
            let rules = rules.into_iter().zip(1..).filter_map(|((names, allow), number)| {
                Rule::for_subject(number, &names, allow, None)
            });
            RuleList { source: "a".into(), rules: rules.collect(), acts_for_others: false }
        });
        let permissions = Permissions { lists: lists.collect() };
        let topic = name(&topic);
        let all = permissions.operations(&topic);
        for operation in Operation::ALL {
            prop_assert_eq!(permissions.explain(operation, &topic).is_allowed, all.has(operation));
        }
        prop_assert_eq!(all.iter().collect::<Operations>(), all);
    }
}

#[test]
fn operations_are_read_as_they_are_shown() {
    for operation in Operation::ALL {
        assert_eq!(Operation::parse(operation.as_str()), Some(operation));
    }
    assert_eq!(Operation::parse("Publish"), None);
    assert_eq!(Operation::ALL.into_iter().collect::<Operations>().iter().count(), 8);
    assert_eq!(Operations::NONE.to_string(), "nothing");
}
