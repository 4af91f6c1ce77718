//! Requests of connections: what one read brings goes to the shards together.

use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use tidewire_core::access::Voter;
use tidewire_core::fanout::is_for_shards;
use tidewire_core::shard::Command;
use tidewire_protocol::frame::BadFrame;
use tidewire_protocol::{ClientFrame, Name, ServerFrame, wire};

use super::connection::Connection;
use crate::server::{Core, Shared, Turn};

/// Commands that are collected before they are passed on.
const COLLECTED_MAX: usize = 1024;

/// Commands on their way to shards. What is collected and not passed on when the connection ends
/// was not acknowledged.
#[derive(Debug, Default)]
pub(super) struct Requests {
    by_shard: Vec<(u16, Vec<Command>)>,
    /// What the last request was about: the next is likely to be about the same.
    last_name: Option<Name>,
    collected: usize,
    taken: u64,
}

impl Requests {
    /// Takes one frame: waits until the connection may ask, and collects what a shard has to do.
    pub(super) async fn take(
        &mut self,
        core: &Rc<Core>,
        connection: &Connection,
        turn: &mut Turn,
        stream: u16,
        frame: &Bytes,
    ) {
        if turn.is_over() {
            self.let_others(core, turn).await;
        }
        let decoded = ClientFrame::decode_knowing(frame, self.last_name.as_ref());
        let name = decoded.as_ref().ok().and_then(ClientFrame::name);
        if name.is_some() && name != self.last_name.as_ref() {
            self.last_name = name.cloned();
        }
        if self.collected >= COLLECTED_MAX
            || !connection.reads(core)
            || !decoded.as_ref().is_ok_and(is_for_shards)
        {
            // What the dispatcher does itself comes after what was asked before.
            self.pass_on(core, turn).await;
            if !connection.reads(core) {
                turn.end().await;
                connection.may_read(core).await;
            }
            // It may have been lent meanwhile.
            turn.begin(&core.turns, core.now_ms()).await;
        }
        let asked = self.take_at_once(core, connection, stream, decoded, frame.len());
        if let Some(asked) = asked {
            // Few wait here, and all would have room for it: it is made when it is needed.
            Box::pin(self.take_later(core, connection, turn, stream, *asked)).await;
        }
    }

    /// Takes a frame that has come to its turn; gives back what somebody else has to be asked about.
    fn take_at_once(
        &mut self,
        core: &Rc<Core>,
        connection: &Connection,
        stream: u16,
        decoded: Result<ClientFrame, BadFrame>,
        bytes: usize,
    ) -> Option<Box<ClientFrame>> {
        self.taken += 1;
        match decoded.and_then(|asked| let_in(core, connection, asked, bytes)) {
            Ok(asked) if has_to_wait(core, &asked) => return Some(Box::new(asked)),
            decoded => self.hand_over(core, connection, stream, decoded),
        }
        None
    }

    /// Takes a frame after somebody else was asked about it, who lets others have their turns meanwhile.
    async fn take_later(
        &mut self,
        core: &Rc<Core>,
        connection: &Connection,
        turn: &mut Turn,
        stream: u16,
        asked: ClientFrame,
    ) {
        if let ClientFrame::Auth { req, token } = &asked {
            turn.end().await;
            renew(core, connection, stream, *req, token).await;
            return begin_again(core, connection, turn).await;
        }
        let decoded = self.decide(core, connection, turn, asked).await;
        self.hand_over(core, connection, stream, decoded);
    }

    /// Hands a frame to the dispatcher, and collects what shards have to do for it.
    fn hand_over(
        &mut self,
        core: &Rc<Core>,
        connection: &Connection,
        stream: u16,
        decoded: Result<ClientFrame, BadFrame>,
    ) {
        let follows = decoded.as_ref().is_ok_and(follows);
        let decoded = decoded.and_then(|asked| seated(connection, asked));
        let hash_voter = |tally: &Name, voter: Voter<'_>| core.shared.hash_voter(tally, voter);
        let mut dispatcher = core.dispatcher.borrow_mut();
        let mut next = dispatcher.request(connection.id(), stream, decoded, &hash_voter);
        if next.is_none() {
            core.changed();
        }
        while let Some((shard, command)) = next {
            self.collect(shard, command);
            next = dispatcher.more_commands();
        }
        drop(dispatcher);
        if follows {
            connection.count_subscriptions(core);
        }
    }

    /// Lets the webhook's application decide on a request. Nobody waits for the connection meanwhile.
    async fn decide(
        &mut self,
        core: &Rc<Core>,
        connection: &Connection,
        turn: &mut Turn,
        asked: ClientFrame,
    ) -> Result<ClientFrame, BadFrame> {
        let outcome = match core.decide_at_once(connection, &asked) {
            Some(outcome) => outcome,
            None => {
                self.pass_on(core, turn).await;
                turn.end().await;
                let outcome = core.decide(connection, &asked).await;
                begin_again(core, connection, turn).await;
                outcome
            }
        };
        match outcome {
            Ok(()) => Ok(asked),
            Err(refusal) => Err(core.refuse_as_decided(connection, &asked, refusal)),
        }
    }

    /// Begins the connection's next turn, after those of others.
    async fn let_others(&mut self, core: &Core, turn: &mut Turn) {
        self.pass_on(core, turn).await;
        turn.end().await;
        turn.begin(&core.turns, core.now_ms()).await;
        turn.is_over();
    }

    /// Sends the shards what was collected; waits while their queues are full.
    pub(super) async fn pass_on(&mut self, core: &Core, turn: &mut Turn) {
        if let Some(figures) = core.figures() {
            figures.requests.fetch_add(std::mem::take(&mut self.taken), Relaxed);
        }
        self.collected = 0;
        // What was collected in is given back: a connection that is idle needs none.
        for (shard, mut commands) in std::mem::take(&mut self.by_shard) {
            core.send_all(shard, &mut commands, turn).await;
        }
    }

    fn collect(&mut self, shard: u16, command: Command) {
        self.collected += 1;
        match self.by_shard.iter_mut().find(|(known, _)| *known == shard) {
            Some((_, commands)) => {
                let alone = match commands.last_mut() {
                    Some(last) => last.join(command),
                    None => Some(command),
                };
                commands.extend(alone);
            }
            None => self.by_shard.push((shard, vec![command])),
        }
    }
}

/// Begins a turn that was given up to wait for something else. The connection was not read meanwhile, so
/// it could not be heard.
async fn begin_again(core: &Core, connection: &Connection, turn: &mut Turn) {
    turn.begin(&core.turns, core.now_ms()).await;
    core.dispatcher.borrow_mut().heard(connection.id(), core.now_ms());
}

/// Whether a connection follows something more with this, if it is not refused.
fn follows(frame: &ClientFrame) -> bool {
    matches!(
        frame,
        ClientFrame::Subscribe { .. } | ClientFrame::Watch { .. } | ClientFrame::Consume { .. }
    )
}

/// Holds a request against the load of the server and the rates of its connection.
fn let_in(
    core: &Core,
    connection: &Connection,
    asked: ClientFrame,
    bytes: usize,
) -> Result<ClientFrame, BadFrame> {
    let Some(req) = asked.req() else { return Ok(asked) };
    let Shared { rates, gate, load, .. } = &*core.shared;
    if let Err(refusal) = gate.check(load, &asked) {
        return Err(BadFrame { req, refusal, wants_reply: false });
    }
    match rates.check(&connection.rates.borrow(), asked.name(), bytes) {
        Ok(()) => Ok(asked),
        Err(refusal) => {
            if let Some(figures) = core.figures() {
                figures.rate_limited.fetch_add(1, Relaxed);
            }
            Err(BadFrame { req, refusal, wants_reply: false })
        }
    }
}

/// Takes a place among what its tenant follows, if it follows something.
fn seated(connection: &Connection, asked: ClientFrame) -> Result<ClientFrame, BadFrame> {
    let outcome = match (&*connection.seat.borrow(), asked.req()) {
        (Some(seat), Some(req)) if follows(&asked) => {
            seat.subscribe().map_err(|refusal| BadFrame { req, refusal, wants_reply: false })
        }
        (Some(_) | None, _) => Ok(()),
    };
    outcome.map(|()| asked)
}

/// Whether somebody else may have to be asked about it.
fn has_to_wait(core: &Core, asked: &ClientFrame) -> bool {
    matches!(asked, ClientFrame::Auth { .. }) || core.is_to_decide_on(asked)
}

/// Answers AUTH.
async fn renew(core: &Core, connection: &Connection, stream: u16, req: u64, token: &str) {
    let frame = match core.renew(connection, token).await {
        Ok(info) => {
            let mut result = Vec::new();
            wire::put_value(&mut result, &info);
            ServerFrame::Ok { req, result: Some(result.into()) }
        }
        Err(refusal) => ServerFrame::refuse(req, refusal),
    };
    if req != 0 {
        core.dispatcher.borrow_mut().send(connection.id(), stream, &frame);
    }
    core.changed();
}
