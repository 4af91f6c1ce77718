//! What there is of the eventual counters of removed nodes: who leads the meta group has it decided.

use tidewire_core::cell::eventual::Seal;

use super::Shared;
use super::deciding::decide_here;
use super::messages::Answer;
use crate::cluster::NodeId;
use crate::cluster::meta::MetaCommand;

/// Decides it, if this node leads the meta group. It is collected and tried again as long as it is not decided.
pub(crate) async fn seal(shared: &Shared, seal: &Seal) {
    let Seal { number, nodes, digest } = seal;
    let nodes = nodes.iter().filter_map(|node| NodeId::new(*node)).collect();
    let command = MetaCommand::Seal { number: *number, nodes, digest: *digest };
    match decide_here(shared, &command).await {
        Answer::Done => tracing::info!(number, "it is decided what there is of removed nodes"),
        Answer::Refused(why) => tracing::info!(number, why, "something was decided in between"),
        Answer::Late
        | Answer::Elsewhere(_)
        | Answer::IsFounded(_)
        | Answer::Led(_)
        | Answer::Entries(_) => {}
    }
}
