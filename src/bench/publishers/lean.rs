//! Publishing over a lean connection: batches are copied from a template, and whatever has room is
//! written at once.

use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use tidewire_client::{ErrorCode, ServerFrame};
use tokio::sync::oneshot;

use super::{Acknowledged, Sent, Task, Work};
use crate::bench::lean::{Endpoint, Hear, Link};
use crate::bench::pace::Pace;
use crate::bench::payload::Template;
use crate::bench::target::{CLIENT_NAME, not_connected};
use crate::cli::CliError;

/// Gathered before a write, so that batches do not wait for each other in here.
const OUT_BYTES: usize = 64 * 1024;

/// Of a thread that lets all others go first.
const LOWEST_PRIORITY: i32 = 19;

/// Connects, says so, and publishes at its pace until the run is over.
///
/// # Errors
/// Why there is no connection, how it ended, or the first publish that is refused.
pub(super) async fn publish(
    endpoint: Endpoint,
    work: Work,
    task: Task,
    connected: oneshot::Sender<()>,
) -> Result<Sent, CliError> {
    if work.refused.is_some() {
        // Where it cannot be set, the flood takes processor time from the server.
        rustix::process::setpriority_process(None, LOWEST_PRIORITY).unwrap_or_default();
    }
    let endpoint = endpoint.showing(task.token);
    let link = endpoint.connect(CLIENT_NAME).await.map_err(|reason| not_connected(&reason))?;
    // Nobody waits for it when another publisher has failed already.
    connected.send(()).unwrap_or_default();
    let mut publisher = Publisher {
        link,
        template: Template::new(work.batch, &task.topic, work.ack),
        pace: task.pace,
        answers: Answers::new(work),
        is_over: false,
    };
    poll_fn(|cx| publisher.poll(cx)).await?;
    Ok(publisher.answers.acknowledged.sent)
}

struct Publisher {
    link: Link,
    template: Template,
    pace: Pace,
    answers: Answers,
    is_over: bool,
}

impl Publisher {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CliError>> {
        loop {
            let filled = self.fill(cx);
            if let Poll::Ready(Err(end)) = self.link.poll_flush(cx) {
                return Poll::Ready(Err(not_connected(&end)));
            }
            let read = match self.link.poll_read(cx, &mut self.answers) {
                Poll::Ready(Err(end)) => return Poll::Ready(Err(not_connected(&end))),
                Poll::Ready(Ok(())) => true,
                Poll::Pending => false,
            };
            if let Some(refusal) = self.answers.refused.take() {
                return Poll::Ready(Err(refusal));
            }
            if self.is_over && self.answers.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if !filled && !read {
                return Poll::Pending;
            }
        }
    }

    /// Gathers the batches that may go now. Whether there are any.
    fn fill(&mut self, cx: &mut Context<'_>) -> bool {
        let before = self.link.out().len();
        while !self.is_over && self.answers.has_room() && self.link.out().len() < OUT_BYTES {
            let Answers { acknowledged: Acknowledged { work, .. }, .. } = &self.answers;
            match self.pace.poll_next(cx, work.clock, &work.phase) {
                Poll::Ready(Some(from_ns)) => {
                    let req = self.answers.expect(from_ns);
                    self.template.put(self.link.out(), req, from_ns);
                }
                Poll::Ready(None) => self.is_over = true,
                Poll::Pending => break,
            }
        }
        self.link.out().len() > before
    }
}

/// What the publishes under way count from, by request: a place among so many, and one more.
struct Answers {
    acknowledged: Acknowledged,
    /// `None`: the place is free.
    from_ns: Vec<Option<u64>>,
    free: Vec<usize>,
    refused: Option<CliError>,
}

impl Answers {
    fn new(work: Work) -> Self {
        let places = work.in_flight_max;
        Self {
            acknowledged: Acknowledged::new(work),
            from_ns: vec![None; places],
            free: (0..places).rev().collect(),
            refused: None,
        }
    }

    fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.free.len() == self.from_ns.len()
    }

    /// Takes a place, which is to be there, and returns its request.
    fn expect(&mut self, from_ns: u64) -> u64 {
        let place = self.free.pop().unwrap_or(0);
        if let Some(kept) = self.from_ns.get_mut(place) {
            *kept = Some(from_ns);
        }
        place as u64 + 1
    }

    fn answered(&mut self, req: u64, offset: Option<u64>) {
        let place = usize::try_from(req).unwrap_or(0).wrapping_sub(1);
        match self.from_ns.get_mut(place).and_then(Option::take) {
            Some(from_ns) => {
                self.acknowledged.take(from_ns, offset);
                self.free.push(place);
            }
            None => self.refuse(format!("the server answered request {req}, which is not open")),
        }
    }

    /// Whether a publish of which refusals are counted has been refused.
    fn counts_refusal(&mut self, req: u64) -> bool {
        let Some(refused) = &self.acknowledged.work.refused else { return false };
        let place = usize::try_from(req).unwrap_or(0).wrapping_sub(1);
        if self.from_ns.get_mut(place).and_then(Option::take).is_none() {
            return false;
        }
        self.free.push(place);
        refused.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn refuse(&mut self, message: String) {
        const REFUSED: u8 = 1;
        self.refused.get_or_insert(CliError { exit_code: REFUSED, message });
    }
}

impl Hear for Answers {
    fn frame(&mut self, frame: ServerFrame) {
        match frame {
            ServerFrame::PubAck { req, offset, .. } => self.answered(req, offset),
            ServerFrame::Error { req, code, message, .. } => {
                if self.counts_refusal(req) {
                    return;
                }
                let code = ErrorCode::from_number(code)
                    .map_or_else(|| code.to_string(), |code| code.to_string());
                self.refuse(format!("{message} ({code})"));
            }
            ServerFrame::GoAway { message, .. } => {
                self.refuse(format!("the server goes away: {message}"));
            }
            ServerFrame::Welcome { .. }
            | ServerFrame::Ping { .. }
            | ServerFrame::Pong { .. }
            | ServerFrame::Ok { .. }
            | ServerFrame::Subscribed { .. }
            | ServerFrame::Deliver { .. }
            | ServerFrame::Gap { .. }
            | ServerFrame::Progress { .. }
            | ServerFrame::Counted { .. }
            | ServerFrame::Voted { .. }
            | ServerFrame::Value { .. }
            | ServerFrame::Watching { .. }
            | ServerFrame::Leased { .. }
            | ServerFrame::Update { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::payload::Batch;
    use crate::bench::phase::Phase;
    use crate::demo::freshness::Clock;
    use std::sync::Arc;
    use tidewire_client::AckLevel;

    fn answers(in_flight_max: usize) -> Answers {
        Answers::new(Work {
            batch: Batch { payload_bytes: 8, records: 5 },
            ack: AckLevel::Memory,
            in_flight_max,
            acknowledged: Arc::default(),
            refused: None,
            phase: Arc::new(Phase::default()),
            clock: Clock::start(),
        })
    }

    fn acknowledge(answers: &mut Answers, req: u64, offset: u64) {
        let offset = Some(offset);
        answers.frame(ServerFrame::PubAck {
            req,
            epoch: 1,
            offset,
            level: 1,
            positions: None,
            duplicate: false,
        });
    }

    #[test]
    fn acknowledgements_make_room_in_whatever_order_they_come() {
        let mut answers = answers(2);
        let (one, other) = (answers.expect(1), answers.expect(2));
        assert!(!answers.has_room());
        acknowledge(&mut answers, other, 5);
        assert!(answers.has_room() && !answers.is_empty());
        acknowledge(&mut answers, one, 0);
        assert!(answers.is_empty() && answers.refused.is_none());
        assert_eq!(answers.acknowledged.sent.end, 10);
    }

    #[test]
    fn an_answer_that_nobody_waits_for_ends_the_publisher() {
        for req in [0, 2, 99] {
            let mut answers = answers(2);
            assert_eq!(answers.expect(1), 1);
            acknowledge(&mut answers, req, 0);
            assert!(answers.refused.unwrap().message.contains("not open"), "{req}");
        }
    }
}
