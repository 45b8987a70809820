use redistribution::config::NodeConfig;
use simulation::*;
use std::time::Duration;
fn main() {
    let node = NodeConfig::parse(
        br#"{"close_rate":{"rebalance":{"settle_time":"60s","max_per_second":10000}}}"#,
    )
    .unwrap();
    for seed in 1..=20 {
        for (what, model) in [
            ("agg", Model { nodes: None, stamps: Some(20.0) }),
            ("full", Model { nodes: None, stamps: None }),
        ] {
            if what == "full" && seed > 6 {
                continue;
            }
            let mut w = World::new(Scenario {
                edges: vec![EdgeSpec::default(); 3],
                clients: 10000,
                node: node.clone(),
                seed,
                model,
                ..Scenario::default()
            });
            w.run(Duration::from_secs(20));
            w.add_edge(EdgeSpec::default());
            w.add_edge(EdgeSpec::default());
            w.run(Duration::from_secs(100));
            let mut h = [0; 6];
            for c in w.closes_per_client() {
                h[*c as usize] += 1;
            }
            println!("{what} {seed} {h:?}");
        }
    }
}
