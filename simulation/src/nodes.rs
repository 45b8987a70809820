//! The modelled nodes, and which of them a request goes to.

use rand::Rng;
use rand_pcg::Pcg64;
use redistribution::node::Node;

/// A modelled node.
#[derive(Debug)]
pub struct VirtualNode {
    pub node: Node,
    pub up: bool,
    /// Steps after which it was started: nodes do not tick in step.
    pub start: u64,
    /// The edge it serves, where it does not serve all.
    pub of: Option<usize>,
}

// === impl VirtualNode ===

impl VirtualNode {
    /// Whether requests of this edge can go to it.
    pub fn serves(&self, edge: usize) -> bool {
        self.up && self.of.is_none_or(|of| of == edge)
    }
}

/// The node that an edge gives its next request to.
pub fn choose<'a>(
    nodes: &'a mut [VirtualNode],
    edge: usize,
    random: &mut Pcg64,
) -> Option<&'a mut Node> {
    let start = random.random_range(0..nodes.len());
    let all = (start..nodes.len()).chain(0..start);
    let number = all.into_iter().find(|number| nodes[*number].serves(edge))?;
    Some(&mut nodes[number].node)
}
