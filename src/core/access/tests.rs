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
    let permissions = Permissions { lists: vec![viewer.clone(), writer], tenant: None };
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
    let nothing = Permissions::default();
    assert!(nothing.explain(Publish, &name("a")).to_string().contains("no role"));
}

#[test]
fn an_identity_is_one_token_of_a_name_and_never_a_wildcard() {
    use Operation::Publish;
    let of = |subject| {
        let lists = vec![list("the token", subject, &[("user.{identity}.>", &[Publish])])];
        Permissions { lists, tenant: None }
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

#[test]
fn nobody_is_called_like_the_server() {
    use Operation::Subscribe;
    let of = |subject| {
        let lists = vec![list("the token", Some(subject), &[("{identity}.>", &[Subscribe])])];
        Permissions { lists, tenant: None }
    };
    let may = |subject, topic: &str| of(subject).explain(Subscribe, &name(topic)).is_allowed;
    assert!(may("ann", "ann.inbox"));
    assert!(!may("$sys", "$sys.audit"));
    let box_of = vec![list("the token", Some("$ann"), &[("box.{identity}", &[Subscribe])])];
    let permissions = Permissions { lists: box_of, tenant: None };
    assert!(permissions.explain(Subscribe, &name("box.$ann")).is_allowed);
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
        let permissions = Permissions { lists: lists.collect(), tenant: None };
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

fn tenant(prefix: &str) -> Option<Tenant> {
    Some(Tenant::parse(prefix).unwrap())
}

#[test]
fn a_tenant_has_its_own_names_and_a_refusal_says_so() {
    use Operation::{Publish, Subscribe};
    let lists = vec![list("role 'all'", None, &[(">", &Operation::ALL)])];
    let permissions = Permissions { lists, tenant: tenant("acme.eu") };
    for (own, topic) in [
        (true, "acme.eu.orders"),
        (true, "acme.eu.a.b.c"),
        (false, "acme.eu"),
        (false, "acme"),
        (false, "acme.us.orders"),
        (false, "acme.eux.orders"),
        (false, "globex.acme.eu.orders"),
        (false, "$sys.audit"),
    ] {
        let allowed = permissions.explain(Publish, &name(topic)).is_allowed;
        assert_eq!(allowed, own, "{topic}");
    }
    let denied = permissions.explain(Subscribe, &name("globex.orders"));
    assert_eq!(
        denied.refusal("ann", Subscribe, &name("globex.orders")),
        "'ann' may not subscribe 'globex.orders': tenant 'acme.eu' has only names of 'acme.eu.>'"
    );
    let may = |pattern: &str| {
        let pattern = tidewire_protocol::Pattern::parse(pattern).unwrap();
        permissions.may_allow(Operations::from_iter([Subscribe]), &pattern)
    };
    assert!(may(">") && may("*.eu.orders") && may("acme.>") && may("acme.eu.*"));
    assert!(!may("globex.>") && !may("*") && !may("*.*") && !may("$sys.>"));
}

#[test]
fn a_prefix_is_a_name_of_nobody_else() {
    for wrong in ["", "a.", "a.*", ">", "$sys", "a b", &"a".repeat(255)] {
        assert!(Tenant::parse(wrong).is_err(), "{wrong:?}");
    }
    assert_eq!(Tenant::parse(&"a".repeat(254)).unwrap().names().as_str().len(), 256);
}

proptest! {
    /// Whatever roles and tokens bring, also rules that are about other tenants.
    #[test]
    fn nothing_is_ever_allowed_outside_of_the_tenant(
        lists in proptest::collection::vec(
            (proptest::collection::vec(
                ("(>|\\*\\.>|\\*|t|t\\.>|t\\.x|u\\.>|tt\\.>|u\\.x|\\$s\\.>|\\*\\.x)", operations()),
                0..6,
            ), any::<bool>()),
            0..4,
        ),
        topic in "(t|u|tt|\\$s)(\\.(x|t|u)){0,3}",
        prefix in "(t|u|t\\.x|tt)",
    ) {
        let lists = lists.into_iter().map(|(rules, acts_for_others)| {
            let rules = rules.into_iter().zip(1..).filter_map(|((names, allow), number)| {
                Rule::for_subject(number, &names, allow, None)
            });
            RuleList { source: "a".into(), rules: rules.collect(), acts_for_others }
        });
        let free = Permissions { lists: lists.collect(), tenant: None };
        let confined = Permissions { tenant: tenant(&prefix), ..free.clone() };
        let (topic, mut all) = (name(&topic), true);
        let is_own = topic.as_str().starts_with(&std::format!("{prefix}."));
        let pattern = tidewire_protocol::Pattern::parse(topic.as_str()).unwrap();
        let allowed = confined.operations(&topic);
        let of_rules = free.operations(&topic);
        prop_assert_eq!(allowed, if is_own { of_rules } else { Operations::NONE });
        for operation in Operation::ALL {
            let verdict = confined.explain(operation, &topic);
            prop_assert_eq!(verdict.is_allowed, allowed.has(operation));
            prop_assert_eq!(verdict.outside.is_some(), !is_own);
            let for_others = confined.acts_for_others(operation, &topic);
            let of_rules = free.acts_for_others(operation, &topic);
            prop_assert_eq!(for_others, is_own && of_rules);
            // What is allowed on a name may be followed by a pattern of it.
            all &= !allowed.has(operation)
                || confined.may_allow(Operations::from_iter([operation]), &pattern);
        }
        prop_assert!(all);
        prop_assert!(is_own || !confined.may_allow(Operations::from_iter([Operation::Publish]), &pattern));
    }
}
