//! Reading the items of a dictionary whose keys are known, without building the dictionary.

use std::convert::Infallible;

use sfv::visitor::{
    DictionaryVisitor, EntryVisitor, Ignored, InnerListVisitor, ItemVisitor, ParameterVisitor,
};
use sfv::{BareItemFromInput, KeyRef, Parser};

use super::{Error, MAX_HEADER_BYTES};

/// What a known key was found to hold. Where a key comes twice, the last one counts (RFC 9651).
#[derive(Debug, Default)]
pub(super) enum Value<'de> {
    #[default]
    Absent,
    Item(BareItemFromInput<'de>),
    InnerList(Vec<Member<'de>>),
}

/// An item of an inner list, with the value of the one parameter that is of interest.
#[derive(Debug)]
pub(super) struct Member<'de> {
    pub item: BareItemFromInput<'de>,
    pub parameter: Option<BareItemFromInput<'de>>,
}

/// The keys to look for, in the order of the values returned.
pub(super) struct Schema<const N: usize> {
    pub keys: [&'static KeyRef; N],
    /// The parameter kept for members of inner lists.
    pub parameter: &'static KeyRef,
    /// Members of an inner list kept at most; the others are read and dropped.
    pub max_members: usize,
}

impl<const N: usize> Schema<N> {
    /// Reads `header`; unknown keys and parameters are checked for syntax and skipped.
    pub fn read<'de>(&self, header: &'de [u8]) -> Result<[Value<'de>; N], Error> {
        if header.len() > MAX_HEADER_BYTES {
            return Err(Error::TooLong);
        }
        let reader = Reader { schema: self, values: std::array::from_fn(|_| Value::Absent) };
        Parser::new(header).parse_dictionary_with_visitor(reader).map_err(|_| Error::NotADictionary)
    }
}

struct Reader<'s, 'de, const N: usize> {
    schema: &'s Schema<N>,
    values: [Value<'de>; N],
}

/// Where the value of one entry goes.
struct Entry<'s, 'v, 'de> {
    value: &'v mut Value<'de>,
    parameter: &'s KeyRef,
    max_members: usize,
}

/// Where the members of an inner list go.
struct Members<'s, 'v, 'de> {
    list: &'v mut Vec<Member<'de>>,
    parameter: &'s KeyRef,
    max: usize,
}

/// Where the parameter of one member goes.
struct Parameter<'s, 'v, 'de> {
    member: Option<&'v mut Member<'de>>,
    key: &'s KeyRef,
}

// === impl Reader ===

impl<'de, const N: usize> DictionaryVisitor<'de> for Reader<'_, 'de, N> {
    type Out = [Value<'de>; N];
    type Error = Infallible;

    fn entry(&mut self, key: &'de KeyRef) -> Result<impl EntryVisitor<'de>, Self::Error> {
        let Self { schema, values } = self;
        Ok(schema.keys.iter().zip(values).find(|(known, _)| **known == key).map(|(_, value)| {
            *value = Value::Absent;
            Entry { value, parameter: schema.parameter, max_members: schema.max_members }
        }))
    }

    fn finish(self) -> Result<Self::Out, Self::Error> {
        Ok(self.values)
    }
}

// === impl Entry ===

impl<'de> EntryVisitor<'de> for Entry<'_, '_, 'de> {
    type Error = Infallible;

    fn item(self) -> Result<impl ItemVisitor<'de>, Self::Error> {
        let value = self.value;
        Ok(move |item| {
            *value = Value::Item(item);
            Ok::<_, Infallible>(Ignored)
        })
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'de>, Self::Error> {
        *self.value = Value::InnerList(Vec::new());
        Ok(match self.value {
            Value::InnerList(list) => {
                Some(Members { list, parameter: self.parameter, max: self.max_members })
            }
            _ => None,
        })
    }
}

// === impl Members ===

impl<'de> InnerListVisitor<'de> for Members<'_, '_, 'de> {
    type Error = Infallible;

    fn item(&mut self) -> Result<impl ItemVisitor<'de>, Self::Error> {
        let list = &mut *self.list;
        let (key, max) = (self.parameter, self.max);
        Ok(move |item| {
            let list = list;
            let member = if list.len() < max {
                list.push(Member { item, parameter: None });
                list.last_mut()
            } else {
                None
            };
            Ok::<_, Infallible>(Parameter { member, key })
        })
    }

    fn finish(self) -> Result<impl ParameterVisitor<'de>, Self::Error> {
        Ok(Ignored)
    }
}

// === impl Parameter ===

impl<'de> ParameterVisitor<'de> for Parameter<'_, '_, 'de> {
    type Out = ();
    type Error = Infallible;

    fn parameter(
        &mut self,
        key: &'de KeyRef,
        value: BareItemFromInput<'de>,
    ) -> Result<(), Self::Error> {
        if let Some(member) = self.member.as_mut()
            && key == self.key
        {
            member.parameter = Some(value);
        }
        Ok(())
    }

    fn finish(self) -> Result<Self::Out, Self::Error> {
        Ok(())
    }
}
