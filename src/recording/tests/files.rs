//! Files that are cut, damaged, or say something else than what happened.

use super::*;
use crate::recording::format::{HashMark, Turn, kind};
use crate::recording::frames_out::FramesOut;

#[test]
fn a_file_that_was_cut_anywhere_replays_as_far_as_it_goes() {
    let (_rig, file, _) = Rig::recorded("cut");
    let whole = std::fs::read(&file).unwrap();
    let mut torn = 0;
    for len in (60..whole.len()).step_by(whole.len() / 60) {
        let Ok(mut replay) = Replay::open(&whole[..len], None) else {
            assert!(len < 200, "{len}");
            continue;
        };
        assert_eq!(play(&mut replay).unwrap(), None, "{len}");
        assert!(replay.end().is_none());
        torn += usize::from(replay.torn().is_some());
    }
    assert!(torn > 40);
}

#[test]
fn a_file_with_one_wrong_byte_is_never_taken_for_whole() {
    let (_rig, file, _) = Rig::recorded("wrong");
    let whole = std::fs::read(&file).unwrap();
    let mut damaged = 0;
    for at in (0..whole.len()).step_by(whole.len() / 60) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        let Ok(mut replay) = Replay::open(&*bytes, None) else { continue };
        match play(&mut replay) {
            Err(error) => damaged += usize::from(error.to_string().contains("damaged at byte")),
            Ok(None) => assert!(replay.torn().is_some(), "{at}"),
            Ok(Some(divergence)) => panic!("{at}: {divergence:?}"),
        }
    }
    assert!(damaged > 40, "{damaged}");
    assert!(matches!(Replay::open(&b"something else"[..], None), Err(ReadError::NotARecording)));
    let mut later = whole;
    later[16] = 9;
    let refused = Replay::open(&*later, None).err().unwrap().to_string();
    assert!(refused.contains("format 9"), "{refused}");
}

/// A recording made by hand: two turns of shard 3, the last of which may be told another way.
fn by_hand(turns: impl Fn(u64, &mut Turn), hash: impl Fn(&Shard) -> HashMark) -> Vec<u8> {
    let mut file = Vec::new();
    let mut frames = FramesOut::begin(&mut file, 1 << 20).unwrap();
    let mut shard = shard(3);
    frames.put(kind::HEADER, &header()).unwrap();
    frames.put_snapshot(&shard.snapshot().unwrap()).unwrap();
    for first in [1, 2] {
        let mut turn =
            Turn { shard: 3, first, now_ms: first, commands: vec![command(6)], progress: [0; 5] };
        shard.handle_timeout(turn.now_ms);
        turn.commands.iter().for_each(|command| shard.handle(command.clone(), turn.now_ms));
        shard.seal();
        turn.progress = shard.progress().to_array();
        turns(first, &mut turn);
        frames.put(kind::TURN, &turn).unwrap();
    }
    frames.put(kind::HASH, &hash(&shard)).unwrap();
    file
}

fn true_hash(shard: &Shard) -> HashMark {
    HashMark { shard: 3, after: 2, hash: shard.state_hash(), last: true }
}

#[test]
fn the_first_input_that_does_something_else_is_named() {
    let file = by_hand(|_, _| {}, true_hash);
    assert_eq!(play(&mut Replay::open(&*file, None).unwrap()).unwrap(), None);

    let other_figures = by_hand(|first, turn| turn.progress[2] += first - 1, true_hash);
    let found = play(&mut Replay::open(&*other_figures, None).unwrap()).unwrap().unwrap();
    assert_eq!((found.number, found.shard, found.input, found.hashed), (2, 3, 2, 0));
    assert!(matches!(found.what, Difference::Progress { .. }));

    // The same figures, and yet another state: only the hash tells.
    let other_payload = by_hand(
        |first, turn| {
            if first == 2 {
                turn.commands = vec![publish("news", payload_body(b"7"))];
            }
        },
        true_hash,
    );
    let found = play(&mut Replay::open(&*other_payload, None).unwrap()).unwrap().unwrap();
    assert_eq!((found.number, found.input), (2, 2));
    assert!(matches!(found.what, Difference::Hash { .. }));
}

#[test]
fn an_input_that_is_missing_or_a_shard_without_a_start_is_damage() {
    let gap = by_hand(|first, turn| turn.first += first - 1, true_hash);
    let error = play(&mut Replay::open(&*gap, None).unwrap()).unwrap_err().to_string();
    assert!(error.contains("input 3 of shard 3 comes after its input 1"), "{error}");
    let stranger = by_hand(|_, turn| turn.shard = 4, true_hash);
    let error = play(&mut Replay::open(&*stranger, None).unwrap()).unwrap_err().to_string();
    assert!(error.contains("shard 4 has inputs, but no state"), "{error}");
}
