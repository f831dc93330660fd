//! Facts read back from the canonical bytes a decision was recorded with (AUD-36, PO-39).
//!
//! Invariant: what is given back has exactly the bytes it was read from. Bytes of another form, of other facts, out of
//! order, too long or too short are refused; nothing is guessed. Of a fact that an earlier form does not have nothing is
//! known.

use std::collections::BTreeSet;

use minicbor::Decoder;
use minicbor::data::Type;
use model::Facts;
use model::policy_test::FactInput;

use crate::canonical::{FORMAT, FORMAT_WITHOUT_HOURS, context_bytes_in};
use crate::policy_test::set_fact;

/// The most bytes that are read as a context; recorded ones are far shorter.
pub(crate) const MAX_CONTEXT_BYTES: usize = 1 << 20;
/// Record, fact, member of a posture fact: deeper there is nothing.
const MAX_DEPTH: usize = 3;

/// Why recorded bytes are not read as facts.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ContextError {
    /// Written by a version whose facts had another form.
    #[error(
        "the recorded facts have form {0}, and this version reads forms up to {FORMAT}; ask the version that recorded them"
    )]
    Form(i64),
    /// Not what this version would write for the same facts.
    #[error("the recorded facts cannot be read: {0}")]
    Malformed(String),
    /// More than any record has.
    #[error("the recorded facts take {0} bytes; at most {MAX_CONTEXT_BYTES} are read")]
    TooLong(usize),
}

impl From<minicbor::decode::Error> for ContextError {
    fn from(error: minicbor::decode::Error) -> Self {
        ContextError::Malformed(error.to_string())
    }
}

/// The facts whose canonical bytes these are.
///
/// # Errors
/// The bytes are not those of any facts of this version.
pub fn decode_context(bytes: &[u8]) -> Result<Facts, ContextError> {
    if bytes.len() > MAX_CONTEXT_BYTES {
        return Err(ContextError::TooLong(bytes.len()));
    }
    let mut cbor = Decoder::new(bytes);
    if cbor.array()? != Some(2) {
        return Err(ContextError::Malformed("not a pair of form and facts".to_owned()));
    }
    let form = cbor.i64()?;
    let form = match u8::try_from(form) {
        Ok(form @ (FORMAT_WITHOUT_HOURS | FORMAT)) => form,
        _ => return Err(ContextError::Form(form)),
    };
    let mut facts = Facts::unknown();
    record(&mut cbor, "", 0, &mut facts)?;
    // Whatever was left out, came twice or came behind shows here.
    if *context_bytes_in(form, &facts) != *bytes {
        return Err(ContextError::Malformed("not in canonical form".to_owned()));
    }
    Ok(facts)
}

fn record(cbor: &mut Decoder<'_>, path: &str, depth: usize, facts: &mut Facts) -> Result<(), ContextError> {
    if depth == MAX_DEPTH {
        return Err(ContextError::Malformed(format!("`{path}` is nested too deeply")));
    }
    let members = cbor.map()?.ok_or_else(|| ContextError::Malformed("a map without a length".to_owned()))?;
    for _ in 0..members {
        let name = cbor.str()?;
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let value = match cbor.datatype()? {
            Type::Map => {
                record(cbor, &path, depth + 1, facts)?;
                continue;
            }
            Type::Bool => FactInput::Bool(cbor.bool()?),
            Type::String => FactInput::Text(cbor.str()?.to_owned()),
            Type::Array => FactInput::Texts(texts(cbor)?),
            _ => FactInput::Long(cbor.i64()?),
        };
        set_fact(facts, &path, &value).map_err(|error| ContextError::Malformed(error.to_string()))?;
    }
    Ok(())
}

fn texts(cbor: &mut Decoder<'_>) -> Result<BTreeSet<String>, ContextError> {
    let items = cbor.array()?.ok_or_else(|| ContextError::Malformed("a list without a length".to_owned()))?;
    (0..items).map(|_| Ok(cbor.str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::context_bytes;
    use crate::policy_test::fact_names;
    use proptest::prelude::*;

    /// A value of each kind from one number; the kind that fits is taken.
    fn values(seed: i64) -> [FactInput; 4] {
        let text = |salt: i64| match (seed ^ salt) & 7 {
            0 => String::new(),
            1 => "é\u{202e}\0\"\\".to_owned(),
            2 => "x".repeat(300),
            _ => (seed ^ salt).to_string(),
        };
        let texts = (0..seed & 3).map(text).collect();
        [FactInput::Bool(seed < 0), FactInput::Long(seed), FactInput::Text(text(0)), FactInput::Texts(texts)]
    }

    fn facts() -> impl Strategy<Value = Facts> {
        let names = fact_names();
        prop::collection::vec(any::<i64>(), names.len()).prop_map(move |seeds| {
            let mut facts = Facts::unknown();
            for (name, seed) in names.iter().zip(seeds) {
                let fits = values(seed).iter().rev().any(|value| set_fact(&mut facts, name, value).is_ok());
                assert!(fits, "{name}");
            }
            facts
        })
    }

    proptest! {
        #[test]
        fn what_was_recorded_is_read_back_to_the_byte(facts in facts()) {
            let bytes = context_bytes(&facts);
            let read = decode_context(&bytes).unwrap();
            prop_assert_eq!(&read, &facts);
            prop_assert_eq!(context_bytes(&read), bytes);
        }

        #[test]
        fn what_was_recorded_before_hours_were_told_is_read_with_none(mut facts in facts()) {
            let bytes = context_bytes_in(FORMAT_WITHOUT_HOURS, &facts);
            facts.request.hours.clear();
            prop_assert_eq!(decode_context(&bytes), Ok(facts.clone()));
            // The number alone does not make one form of the other.
            let mut other = bytes.to_vec();
            other[1] = FORMAT;
            prop_assert!(decode_context(&other).is_err());
            let mut other = context_bytes(&facts).to_vec();
            other[1] = FORMAT_WITHOUT_HOURS;
            prop_assert!(decode_context(&other).is_err());
        }

        #[test]
        fn changed_bytes_are_refused_or_are_other_facts(facts in facts(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let mut bytes = context_bytes(&facts).to_vec();
            let place = at.index(bytes.len());
            let was = std::mem::replace(&mut bytes[place], to);
            match decode_context(&bytes) {
                Ok(read) => prop_assert_eq!(read == facts, was == to),
                Err(_) => prop_assert_ne!(was, to),
            }
        }

        #[test]
        fn any_bytes_at_all_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _refused_or_not = decode_context(&bytes);
        }
    }

    #[test]
    fn bytes_cut_short_with_more_behind_or_of_another_form_are_refused() {
        let bytes = context_bytes(&Facts::unknown());
        for short in 0..bytes.len() {
            assert!(decode_context(&bytes[..short]).is_err(), "{short}");
        }
        assert!(decode_context(&[&bytes[..], &[0]].concat()).is_err());
        let mut other = bytes.to_vec();
        other[1] = FORMAT + 1;
        assert_eq!(decode_context(&other), Err(ContextError::Form(i64::from(FORMAT) + 1)));
    }

    #[test]
    fn maps_inside_maps_and_lengths_that_lie_cost_nothing() {
        let mut nested = vec![0x82, FORMAT];
        nested.extend([0xA1, 0x61, b'a'].repeat(10_000));
        assert!(decode_context(&nested).is_err());
        let endless = [0x82, FORMAT, 0xA1, 0x61, b'a', 0x9B, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
        assert!(decode_context(&endless).is_err());
        assert_eq!(decode_context(&vec![0; MAX_CONTEXT_BYTES + 1]), Err(ContextError::TooLong(MAX_CONTEXT_BYTES + 1)));
    }
}
