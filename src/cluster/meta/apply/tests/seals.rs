//! What there is of removed nodes is decided once for all of them.

use super::*;

fn seal(number: u64, nodes: &[u64], digest: u64) -> MetaCommand {
    MetaCommand::Seal { number, nodes: nodes.iter().copied().map(id).collect(), digest }
}

#[test]
fn it_is_decided_of_all_that_were_removed_in_turn() {
    let mut meta = placed(5);
    let stale = |number, has| MetaRefusal::SealStale { number, has };
    assert_eq!(refused(&meta, &seal(1, &[5], 7)), stale(1, 0), "it was not removed");
    meta.apply(&MetaCommand::Remove { node: id(5) }).unwrap();
    assert_eq!(refused(&meta, &seal(1, &[4, 5], 7)), stale(1, 0));
    assert_eq!(refused(&meta, &seal(2, &[5], 7)), stale(2, 0));
    assert_eq!(meta.apply(&seal(1, &[5], 7)), Ok(Outcome::Changed));
    assert_eq!(meta.apply(&seal(1, &[5], 7)), Ok(Outcome::Unchanged), "it came twice");
    assert_eq!(refused(&meta, &seal(1, &[5], 8)), stale(1, 1), "what was decided stays");
    place(&mut meta);
    meta.apply(&MetaCommand::Remove { node: id(4) }).unwrap();
    assert_eq!(refused(&meta, &seal(2, &[5], 8)), stale(2, 1), "one was removed since");
    assert_eq!(meta.apply(&seal(2, &[4, 5], 8)), Ok(Outcome::Changed));
    let decided = meta.seal.clone().map(|seal| (seal.number, seal.nodes.len(), seal.digest));
    assert_eq!(decided, Some((2, 2, 8)));
    assert_eq!(Meta::read_saved(&meta.save().unwrap()), Ok(meta));
}
