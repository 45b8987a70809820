//! Configurations that are nearly right: filter and schema have to part them alike.

use std::cell::Cell;

use anyhow::Result;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};

use crate::bad::Filter;
use crate::schemas::{BOTH, NAMES, scalar};

/// What is done to a configuration that was right.
#[derive(Clone, Debug)]
enum Mutation {
    /// One of its values is another one.
    Replace(Index, Value),
    /// One of its values is within a list, or an object of this field.
    Wrap(Index, Option<&'static str>),
    /// A field is no longer there.
    Remove(Index),
    /// An object has another field.
    Add(Index, &'static str, Value),
    /// The name of a field is misspelled.
    Misspell(Index, Index, char),
    /// A number is more or less.
    Scale(Index, f64),
    /// A text has another character, or one less.
    Edit(Index, Index, Option<char>),
}

fn fields(each: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let each: Vec<_> = each
        .into_iter()
        .map(|(name, value)| proptest::option::of(value.prop_map(move |value| (name, value))))
        .collect();
    each.prop_map(|fields| {
        let fields = fields.into_iter().flatten();
        fields.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>().into()
    })
    .boxed()
}

fn one_of(values: &[Value]) -> BoxedStrategy<Value> {
    select(values.to_vec()).boxed()
}

/// Within these, and often one of them.
fn number(least: f64, most: f64) -> BoxedStrategy<Value> {
    prop_oneof![Just(least), Just(most), least..=most].prop_map(Value::from).boxed()
}

fn good_lb() -> BoxedStrategy<Value> {
    fields(vec![
        ("role", one_of(&[json!("http"), json!("connection"), json!("responses")])),
        ("id", "[ -~]{1,20}".prop_map(Value::from).boxed()),
        ("pool", one_of(&[json!("default"), json!("x".repeat(256))])),
        ("weight", number(0.001, 1e6)),
        ("mode", one_of(&[json!("enforce"), json!("observe")])),
        ("max_closes_per_second", number(0.001, 100_000.0)),
        ("max_stamps_per_second", number(1.0, 1e6)),
        ("drain_timeout", one_of(&[json!("100ms"), json!("5s"), json!("1h"), json!("1m 30s")])),
        ("max_drain", one_of(&[json!("100ms"), json!("365days"), json!("2h")])),
    ])
}

fn good_node() -> BoxedStrategy<Value> {
    let age = || one_of(&[json!("1s"), json!("10m"), json!("365days")]);
    let floor = age().prop_map(|age| json!({ "mean_connection_age": age })).boxed();
    let rebalance = fields(vec![
        ("settle_time", one_of(&[json!("1m"), json!("2h"), json!("24h")])),
        ("tolerance", number(0.01, 0.5)),
        ("max_per_second", number(0.001, 10_000.0)),
        ("floor", floor),
    ]);
    let close_rate = prop_oneof![
        number(0.0, 10_000.0).prop_map(|rate| json!({ "per_second": rate })),
        age().prop_map(|age| json!({ "mean_connection_age": age })),
        rebalance.prop_map(|settings| json!({ "rebalance": settings })),
    ];
    let share = prop_oneof![
        Just(json!("measured")),
        prop_oneof![Just(1), Just(1_000_000), 1..=1_000_000]
            .prop_map(|nodes| json!({ "nodes": nodes })),
    ];
    fields(vec![
        ("mode", one_of(&[json!("enforce"), json!("observe")])),
        ("close_rate", close_rate.boxed()),
        ("min_connection_age", one_of(&[json!("0s"), json!("0"), json!("24h"), json!("1.5s")])),
        ("share", share.boxed()),
        ("share_window", one_of(&[json!("1s"), json!("2s"), json!("3sec")])),
        ("lb_timeout", one_of(&[json!("3s"), json!("24h")])),
    ])
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    let letter = prop_oneof![select(vec!['_', 's', 'S', '0', '-', ' ', '.']), any::<char>()];
    let factor = select(vec![-1.0, 0.0, 0.1, 0.999_999, 1.000_001, 1.5, 1e9, 1e300, -1e-300]);
    prop_oneof![
        (at(), scalar()).prop_map(|(at, value)| Mutation::Replace(at, value)),
        (at(), proptest::option::of(select(NAMES))).prop_map(|(at, name)| Mutation::Wrap(at, name)),
        at().prop_map(Mutation::Remove),
        (at(), select(NAMES), scalar()).prop_map(|(at, name, v)| Mutation::Add(at, name, v)),
        (at(), at(), letter.clone()).prop_map(|(at, n, c)| Mutation::Misspell(at, n, c)),
        (at(), factor).prop_map(|(at, factor)| Mutation::Scale(at, factor)),
        (at(), at(), proptest::option::of(letter)).prop_map(|(at, n, c)| Mutation::Edit(at, n, c)),
    ]
}

// === impl Mutation ===

impl Mutation {
    /// Does it to one of the places that it fits, where there is one.
    fn apply(&self, root: &mut Value) {
        let fits = |value: &Value| match self {
            Self::Replace(..) | Self::Wrap(..) => true,
            Self::Remove(..) | Self::Misspell(..) => {
                value.as_object().is_some_and(|object| !object.is_empty())
            }
            Self::Add(..) => value.is_object(),
            Self::Scale(..) => value.is_number(),
            Self::Edit(..) => value.is_string(),
        };
        let (Self::Replace(at, _)
        | Self::Wrap(at, _)
        | Self::Remove(at)
        | Self::Add(at, ..)
        | Self::Misspell(at, ..)
        | Self::Scale(at, _)
        | Self::Edit(at, ..)) = self;
        let mut places = Vec::new();
        collect(root, "", &fits, &mut places);
        if places.is_empty() {
            return;
        }
        let value =
            root.pointer_mut(&places[at.index(places.len())]).expect("collected from there");
        match self {
            Self::Replace(_, by) => *value = by.clone(),
            Self::Wrap(_, None) => *value = json!([value.take()]),
            Self::Wrap(_, Some(name)) => *value = json!({ *name: value.take() }),
            Self::Remove(at) => drop(take(value, *at)),
            Self::Add(_, name, with) => value[*name] = with.clone(),
            Self::Misspell(at, n, c) => {
                let (name, old) = take(value, *at);
                value[edited(&name, *n, Some(*c))] = old;
            }
            Self::Scale(_, factor) => *value = json!(value.as_f64().unwrap_or(0.0) * factor),
            Self::Edit(_, n, c) => *value = json!(edited(value.as_str().unwrap_or(""), *n, *c)),
        }
    }
}

/// The pointers to all values that fit.
fn collect(value: &Value, pointer: &str, fits: &impl Fn(&Value) -> bool, places: &mut Vec<String>) {
    if fits(value) {
        places.push(pointer.to_owned());
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        let name = name.replace('~', "~0").replace('/', "~1");
        collect(value, &format!("{pointer}/{name}"), fits, places);
    }
}

/// Takes one field out.
fn take(object: &mut Value, at: Index) -> (String, Value) {
    let object = object.as_object_mut().expect("an object that has some");
    let name = object.keys().nth(at.index(object.len())).expect("one of them").clone();
    let value = object.remove(&name).expect("there");
    (name, value)
}

/// `text` with `c` put in, or without one of its characters.
fn edited(text: &str, at: Index, c: Option<char>) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    match c {
        Some(c) => characters.insert(at.index(characters.len() + 1), c),
        None if characters.is_empty() => {}
        None => drop(characters.remove(at.index(characters.len()))),
    }
    characters.into_iter().collect()
}

fn runner(cases: u32) -> proptest::test_runner::TestRunner {
    proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    })
}

fn good(filter: Filter) -> BoxedStrategy<Value> {
    match filter {
        Filter::Lb => good_lb(),
        Filter::Node => good_node(),
    }
}

#[test]
fn are_taken_or_refused_by_both() -> Result<()> {
    for filter in BOTH {
        let validator = filter.validator()?;
        let (taken, refused) = (Cell::new(0), Cell::new(0));
        let cases = (good(filter), proptest::collection::vec(mutation(), 0..3));
        runner(5000).run(&cases, |(mut json, mutations)| {
            for mutation in &mutations {
                mutation.apply(&mut json);
            }
            let (agree, what) = filter.agrees(&validator, json.to_string().as_bytes());
            prop_assert!(agree, "{}\n{:?}", what, mutations);
            let count =
                if filter.parse(json.to_string().as_bytes()).is_ok() { &taken } else { &refused };
            count.set(count.get() + 1);
            Ok(())
        })?;
        // Enough of both, to mean something.
        assert!(taken.get() > 1000 && refused.get() > 1000, "{filter:?} {taken:?} {refused:?}");
    }
    Ok(())
}

#[test]
fn are_taken_or_refused_by_both_as_text_too() -> Result<()> {
    for filter in BOTH {
        let validator = filter.validator()?;
        let byte = prop_oneof![select(b"{}[]\",:0123456789.eE-+ \\nsmh".to_vec()), any::<u8>()];
        let cases = (good(filter), any::<Index>(), byte, 0..3);
        runner(5000).run(&cases, |(json, at, byte, what)| {
            let mut text = json.to_string().into_bytes();
            match what {
                0 => text.insert(at.index(text.len() + 1), byte),
                1 => *text.get_mut(at.index(json.to_string().len())).expect("within") = byte,
                _ => drop(text.remove(at.index(text.len()))),
            }
            let (agree, what) = filter.agrees(&validator, &text);
            prop_assert!(agree, "{}", what);
            Ok(())
        })?;
    }
    Ok(())
}
