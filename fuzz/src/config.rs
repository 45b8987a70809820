//! Both configurations: what is taken is within bounds, and what is refused is refused in words.

use redistribution::close_rate::{CloseRate, PerSecond, Share};
use redistribution::config::{LbConfig, Mistakes, NodeConfig};
use redistribution::wire::is_valid_name;

/// Longest message for one mistake, in bytes: a value or a name is shown in part.
const LONGEST_MESSAGE: usize = 2_000;

/// Takes `data` for the configuration of `lb_filter.wasm`.
///
/// # Panics
/// Where something does not hold.
pub fn check_lb(data: &[u8]) {
    let Some(config) = taken(data, LbConfig::parse) else { return };
    assert!(is_valid_name(&config.pool), "{config:?}");
    assert!(config.id.as_deref().is_none_or(is_valid_name), "{config:?}");
    assert!((0.001..=1_000_000.0).contains(&config.weight), "{config:?}");
    assert_finite(config.max_closes_per_second);
    assert!(config.max_closes_per_second.get() > 0.0, "{config:?}");
    assert!(!config.drain_timeout.is_zero(), "{config:?}");
    assert!(config.max_drain.is_none_or(|time| !time.is_zero()), "{config:?}");
}

/// Takes `data` for the configuration of `node_filter.wasm`.
///
/// # Panics
/// Where something does not hold.
pub fn check_node(data: &[u8]) {
    let Some(config) = taken(data, NodeConfig::parse) else { return };
    assert!(!config.share_window.is_zero(), "{config:?}");
    assert!(config.lb_timeout >= config.share_window, "{config:?}");
    match config.close_rate {
        CloseRate::PerSecond(rate) => assert_finite(rate),
        CloseRate::MeanConnectionAge(age) => assert!(!age.is_zero(), "{config:?}"),
        CloseRate::Rebalance(rebalance) => {
            assert!(rebalance.settle_time >= config.share_window, "{config:?}");
            assert!((0.01..=0.5).contains(&rebalance.tolerance), "{config:?}");
            assert_finite(rebalance.max_per_second);
        }
    }
    if let Share::Fixed { vms } = config.share {
        assert!(vms > 0, "{config:?}");
    }
}

fn assert_finite(rate: PerSecond) {
    assert!(rate.get().is_finite() && rate.get() >= 0.0, "{rate:?}");
}

/// The configuration, where it is taken.
fn taken<T: std::fmt::Debug + PartialEq>(
    data: &[u8],
    parse: impl Fn(&[u8]) -> Result<T, Mistakes>,
) -> Option<T> {
    match parse(data) {
        Ok(config) => {
            check_meaning(data, &config, parse);
            Some(config)
        }
        Err(mistakes) => {
            check_words(&mistakes);
            None
        }
    }
}

/// The same configuration, written in another way, is the same configuration.
fn check_meaning<T: std::fmt::Debug + PartialEq>(
    data: &[u8],
    config: &T,
    parse: impl Fn(&[u8]) -> Result<T, Mistakes>,
) {
    if data.trim_ascii().is_empty() {
        return;
    }
    let value: serde_json::Value = serde_json::from_slice(data).expect("what is taken is JSON");
    let again = serde_json::to_vec_pretty(&value).expect("JSON can be written");
    assert_eq!(parse(&again).as_ref(), Ok(config));
}

fn check_words(mistakes: &Mistakes) {
    let all = mistakes.as_slice();
    assert!(!all.is_empty());
    for mistake in all {
        let message = mistake.to_string();
        assert!(message.len() <= LONGEST_MESSAGE, "{message}");
        assert!(!message.chars().any(char::is_control), "{message:?}");
        assert!(!mistake.reason.is_empty(), "{message}");
    }
    // One line for each, and one above.
    assert_eq!(mistakes.to_string().lines().count(), all.len() + 1);
}
