//! The short form: the inputs that are kept, and changes of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, Once, PoisonError};

use fastrand::Rng;

/// Bytes that a change puts in often: small numbers, and what text is made of.
const LIKELY: &[u8] = b"\0\x01\x02\xff\x7f\x80\"(){}[]:;,= .\r\n019aez";

/// Longest input that is made.
const MAX_BYTES: usize = 2048;

/// Replays the corpus of the target `name`, then `changed` inputs made of it: always the same ones,
/// so that this test always says the same.
///
/// # Panics
/// Where `check` does; the input is shown then. Also where there is no corpus.
pub fn replay(name: &'static str, changed: u32, check: impl Fn(&[u8])) {
    let corpus = read(name);
    assert!(!corpus.is_empty(), "fuzz/corpus/{name} is empty");
    for input in &corpus {
        shown(name, input, &check);
    }
    let mut rng = Rng::with_seed(changed.into());
    for _ in 0..changed {
        let mut input = pick(&corpus, &mut rng).clone();
        for _ in 0..=rng.u8(..6) {
            change(&mut input, &corpus, &mut rng);
        }
        input.truncate(MAX_BYTES);
        shown(name, &input, &check);
    }
}

fn read(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let files =
        std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> =
        files.map(|file| file.expect("a folder can be listed").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a file can be read")).collect()
}

/// A panic in a callback ends the program, so the input has to be shown before that: by the hook.
fn shown(name: &'static str, input: &[u8], check: &impl Fn(&[u8])) {
    static CURRENT: Mutex<BTreeMap<&'static str, Vec<u8>>> = Mutex::new(BTreeMap::new());
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            before(panic);
            for (name, input) in &*CURRENT.lock().unwrap_or_else(PoisonError::into_inner) {
                eprintln!("{name}: the input in hand is b\"{}\"", input.escape_ascii());
            }
        }));
    });
    let current = || CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
    current().insert(name, input.to_vec());
    check(input);
    current().remove(name);
}

fn pick<'c>(corpus: &'c [Vec<u8>], rng: &mut Rng) -> &'c Vec<u8> {
    &corpus[rng.usize(..corpus.len())]
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut Rng) {
    let at = rng.usize(..=input.len());
    let byte = if rng.bool() { LIKELY[rng.usize(..LIKELY.len())] } else { rng.u8(..) };
    let until = input.len().min(at + rng.usize(..16));
    match rng.u8(..6) {
        0 => input.insert(at, byte),
        1 => drop(input.drain(at..until)),
        2 => {
            let part = input[at..until].to_vec();
            input.splice(at..at, part);
        }
        3 => {
            let other = pick(corpus, rng);
            let from = rng.usize(..=other.len());
            let to = other.len().min(from + rng.usize(..64));
            input.splice(at..until, other[from..to].iter().copied());
        }
        _ if at < input.len() => input[at] = byte,
        _ => input.push(byte),
    }
}
