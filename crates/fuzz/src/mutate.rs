//! Damages samples: always in the same ways for the same number.

use sha2::{Digest as _, Sha256};

/// What readers stumble over.
const WORDS: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    ": ",
    "- ",
    "\n",
    "&a ",
    "*a",
    "<<: *a",
    "!!binary ",
    "---\n",
    "null",
    "~",
    "-1",
    "1e999",
    "18446744073709551616",
    "\u{0}",
    "\u{feff}",
    "\u{202e}",
    "\\u0000",
    "%YAML 1.1\n",
];

/// Numbers that follow from each other.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// Begins with `seed`.
    pub fn new(seed: u64) -> Self {
        let digest = Sha256::digest(seed.to_le_bytes());
        Self(digest.iter().take(8).fold(1, |number, byte| (number << 8) | u64::from(*byte)) | 1)
    }

    /// One below `below`, which is not zero.
    pub fn below(&mut self, below: usize) -> usize {
        // Marsaglia's xorshift: good enough to hit every place.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (below.max(1) as u64)).unwrap_or_default()
    }
}

/// One of `samples`, damaged.
pub fn damaged(samples: &[String], dice: &mut Dice) -> Vec<u8> {
    let mut data = samples[dice.below(samples.len())].as_bytes().to_vec();
    for _ in 0..=dice.below(6) {
        let at = dice.below(data.len() + 1);
        let length = dice.below(40).min(data.len() - at);
        match dice.below(8) {
            0 if !data.is_empty() => {
                let at = at.min(data.len() - 1);
                data[at] ^= 1 << dice.below(8);
            }
            1 => drop(data.drain(at..at + length)),
            2 => data.truncate(at),
            3 => {
                let copy = data[at..at + length].to_vec();
                let to = dice.below(data.len() + 1);
                data.splice(to..to, copy);
            }
            4 => {
                let word = WORDS[dice.below(WORDS.len())];
                data.splice(at..at, word.bytes());
            }
            5 => {
                let word = WORDS[dice.below(WORDS.len())].repeat(1 + dice.below(200));
                data.splice(at..at, word.into_bytes());
            }
            6 => {
                let other = samples[dice.below(samples.len())].as_bytes();
                let from = dice.below(other.len());
                let length = dice.below(300).min(other.len() - from);
                data.splice(at..at, other[from..from + length].iter().copied());
            }
            _ => {
                let random: Vec<u8> =
                    (0..length).map(|_| u8::try_from(dice.below(256)).unwrap_or_default()).collect();
                data.splice(at..at + length, random);
            }
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_damage() {
        let of = |seed| {
            let mut dice = Dice::new(seed);
            (0..20).map(|_| damaged(&["some: sample".to_owned()], &mut dice)).collect::<Vec<_>>()
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
