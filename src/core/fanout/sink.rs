//! Where frames go: the door between a connection's cursors and its transport.

use bytes::Bytes;

/// Which way a frame takes on a transport that has more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The reliable lane of this subscription or watch.
    Sub(u32),
    /// A datagram for this watch; it may get lost.
    Datagram(u32),
}

/// A transport's outbound side during one pull. It buffers; the puller keeps to the budget.
pub trait Sink {
    /// Whether the lane takes more now. When it does again later, the transport calls
    /// [`super::Dispatcher::lane_opened`].
    fn is_open(&mut self, lane: Lane) -> bool;

    /// Replies for a stream: frames in the session's framing.
    fn control(&mut self, stream: u16, frames: &[u8]);

    /// One frame: its head, and behind it bytes that are shared with other connections (empty
    /// for most frames).
    fn frame(&mut self, lane: Lane, head: &[u8], shared: &Bytes);

    /// The subscription has ended: nothing more comes on its lane.
    fn finish(&mut self, sub: u32);
}
